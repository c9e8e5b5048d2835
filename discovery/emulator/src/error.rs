//! What can be wrong with a request: for users of the Rust API, and on the wire.

/// A request of the Rust API that names something unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmulatorError {
    /// No cluster has this name.
    #[error("no cluster is called \"{0}\"")]
    UnknownCluster(String),
    /// No service has this name in its cluster.
    #[error("cluster \"{cluster}\" has no service called \"{service}\"")]
    UnknownService {
        /// The cluster.
        cluster: String,
        /// The name asked for.
        service: String,
    },
    /// A service of this name exists already.
    #[error("cluster \"{cluster}\" has a service called \"{service}\" already")]
    ServiceExists {
        /// The cluster.
        cluster: String,
        /// The name.
        service: String,
    },
    /// No task set of the service has this id or ARN.
    #[error("no task set matches \"{0}\"")]
    UnknownTaskSet(String),
    /// The service has the deployment controller ECS, and so no task sets.
    #[error("service \"{0}\" has no task sets")]
    NoTaskSets(String),
    /// No task definition has this family, revision or ARN.
    #[error("no task definition matches \"{0}\"")]
    UnknownTaskDefinition(String),
    /// No task has this id or ARN.
    #[error("no task matches \"{0}\"")]
    UnknownTask(String),
    /// The task has no running process.
    #[error("task \"{0}\" does not run")]
    NotRunning(String),
    /// No container instance has this id, ARN or EC2 id.
    #[error("no host matches \"{0}\"")]
    UnknownHost(String),
    /// The host was lost before.
    #[error("host \"{0}\" is lost")]
    HostLost(String),
}

/// An error as it goes over the wire, in either protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The code that SDKs match on.
    pub code: &'static str,
    /// The sentence for people.
    pub message: String,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// ECS's answer to a request that makes no sense.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidParameterException", message)
    }

    /// ECS's answer to a well-formed request about something that is not there.
    pub(crate) fn client(message: impl Into<String>) -> Self {
        Self::new(400, "ClientException", message)
    }
}

impl From<EmulatorError> for ApiError {
    fn from(error: EmulatorError) -> Self {
        let code = match &error {
            EmulatorError::UnknownCluster(_) => {
                return Self::new(400, "ClusterNotFoundException", "Cluster not found.");
            }
            EmulatorError::UnknownService { .. } => {
                return Self::new(400, "ServiceNotFoundException", "Service not found.");
            }
            EmulatorError::UnknownTaskDefinition(_) => {
                return Self::client("Unable to describe task definition.");
            }
            EmulatorError::UnknownTaskSet(_) => {
                return Self::new(400, "TaskSetNotFoundException", error.to_string());
            }
            EmulatorError::UnknownTask(_)
            | EmulatorError::NoTaskSets(_)
            | EmulatorError::UnknownHost(_)
            | EmulatorError::NotRunning(_)
            | EmulatorError::ServiceExists { .. }
            | EmulatorError::HostLost(_) => "InvalidParameterException",
        };
        Self::new(400, code, error.to_string())
    }
}
