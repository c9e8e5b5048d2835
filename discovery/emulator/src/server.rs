//! The HTTP side: connections in, one answer for each request.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::bucket::Bucket;
use crate::control;
use crate::ec2::{self, Form};
use crate::ecs;
use crate::error::ApiError;
use crate::faults::Fault;
use crate::shared::{Shared, lock};
use crate::sqs;
use crate::ssm;

/// No request of these APIs comes near it.
const LARGEST_BODY: usize = 1 << 20;
const ECS_TARGET: &str = "AmazonEC2ContainerServiceV20141113.";
const SSM_TARGET: &str = "AmazonSSM.";
pub(crate) const ECS_TYPE: &str = "application/x-amz-json-1.1";
const EC2_TYPE: &str = "text/xml;charset=UTF-8";

pub(crate) type Answer = Response<Full<Bytes>>;

/// Accepts connections until the emulator shuts down.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.until_closing() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(Arc::clone(&shared), stream));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: let some connections end first.
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }
    connections.shutdown().await;
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot switch off Nagle's algorithm");
    }
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { respond(&shared, request).await }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "a connection ended early");
    }
}

/// An error ends the connection without an answer.
async fn respond(shared: &Arc<Shared>, request: Request<Incoming>) -> io::Result<Answer> {
    let (parts, body) = request.into_parts();
    if parts.uri.path().starts_with(control::PREFIX) {
        return Ok(control::answer(shared, &parts));
    }
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let message = format!("cannot read the request: {error}");
            let error = ApiError::new(400, "SerializationException", message);
            return Ok(ecs_error(&error));
        }
    };
    if let Some(answer) = sqs::answer(shared, &parts.headers, &body).await {
        return answer;
    }
    match Call::read(&parts.method, &parts.headers, &body) {
        Ok(call) => call.answer(shared).await,
        Err(error) => Ok(ecs_error(&error)),
    }
}

/// A request of one of the services.
enum Call {
    Ecs { operation: String, body: Value },
    Ssm { operation: String, body: Value },
    Ec2 { operation: String, form: Form },
}

impl Call {
    fn read(method: &Method, headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        let target = headers.get("x-amz-target").and_then(|v| v.to_str().ok());
        if let Some(operation) = target.and_then(|target| target.strip_prefix(ECS_TARGET)) {
            return Ok(Self::Ecs {
                operation: operation.to_owned(),
                body: json_body(body)?,
            });
        }
        if let Some(operation) = target.and_then(|target| target.strip_prefix(SSM_TARGET)) {
            return Ok(Self::Ssm {
                operation: operation.to_owned(),
                body: json_body(body)?,
            });
        }
        if target.is_none() && method == Method::POST {
            let form = Form::parse(&String::from_utf8_lossy(body));
            if let Some(action) = form.get("Action") {
                return Ok(Self::Ec2 {
                    operation: action.to_owned(),
                    form,
                });
            }
        }
        Err(ApiError::new(
            404,
            "UnknownOperationException",
            "This is the Longshore ECS emulator. It answers requests of ECS and of Systems Manager \
             (a POST with X-Amz-Target), of EC2 (a POST of a form with Action), and under /_emulator/.",
        ))
    }

    fn operation(&self) -> &str {
        match self {
            Self::Ecs { operation, .. }
            | Self::Ssm { operation, .. }
            | Self::Ec2 { operation, .. } => operation,
        }
    }

    fn page(&self) -> u32 {
        match self {
            Self::Ecs { operation, body } => ecs::page_number(operation, body),
            Self::Ssm { operation, body } => ssm::page_number(operation, body),
            Self::Ec2 { operation, form } => form.page_number(operation),
        }
    }

    /// Whether the buckets of the account let the call through.
    fn admitted(&self, shared: &Shared) -> bool {
        let narrow = match self {
            Self::Ecs { .. } | Self::Ssm { .. } => false,
            Self::Ec2 { form, .. } => form.is_narrow(),
        };
        let Some(bucket) = Bucket::of(self.operation(), narrow) else {
            return true;
        };
        let Some(buckets) = &shared.buckets else {
            return true;
        };
        lock(buckets).take(bucket, Instant::now())
    }

    async fn answer(self, shared: &Arc<Shared>) -> io::Result<Answer> {
        let operation = self.operation().to_owned();
        *lock(&shared.calls)
            .all
            .entry(operation.clone())
            .or_default() += 1;
        shared.bump();
        // The fault is decided before the delay: "the next call" is the next to arrive.
        let fault = shared.faults.decide(&operation, self.page());
        let delay = shared.faults.delay(&operation);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match fault {
            None => {}
            Some((Fault::Hang, rule)) => shared.faults.cleared(rule).await,
            Some((Fault::CloseConnection, _)) => {
                return Err(io::Error::other("closed by a fault"));
            }
            Some((Fault::EmptyBody, _)) => return Ok(self.plain(String::new())),
            Some((Fault::MalformedBody, _)) => return Ok(self.plain(self.broken())),
            Some((Fault::Throttle, _)) => return Ok(self.error(&self.throttled())),
            Some((Fault::ServerError, _)) => return Ok(self.error(&self.failed())),
            Some((Fault::AccessDenied, _)) => return Ok(self.error(&self.denied())),
        }
        if !self.admitted(shared) {
            *lock(&shared.calls).throttled.entry(operation).or_default() += 1;
            return Ok(self.error(&self.throttled()));
        }
        let answered = match &self {
            Self::Ecs { operation, body } => {
                let faults = shared.faults.task_faults();
                shared
                    .with(|world, now| ecs::answer(operation, body, world, &faults, now))
                    .map(|answer| answer.to_string())
            }
            Self::Ssm { operation, body } => shared
                .with(|world, _| ssm::answer(operation, body, world))
                .map(|answer| answer.to_string()),
            Self::Ec2 { form, .. } => {
                let id = request_id();
                let disrupted = shared.faults.disrupted();
                shared.with(|world, _| ec2::answer(form, world, &disrupted, &id))
            }
        };
        Ok(match answered {
            Ok(body) => self.plain(body),
            Err(error) => self.error(&error),
        })
    }

    fn throttled(&self) -> ApiError {
        match self {
            Self::Ecs { .. } | Self::Ssm { .. } => {
                ApiError::new(400, "ThrottlingException", "Rate exceeded")
            }
            Self::Ec2 { .. } => {
                ApiError::new(503, "RequestLimitExceeded", "Request limit exceeded.")
            }
        }
    }

    fn failed(&self) -> ApiError {
        let message = "Service Unavailable. Please try again later.";
        match self {
            Self::Ecs { .. } => ApiError::new(500, "ServerException", message),
            Self::Ssm { .. } => ApiError::new(500, "InternalServerError", message),
            Self::Ec2 { .. } => ApiError::new(500, "InternalError", message),
        }
    }

    fn denied(&self) -> ApiError {
        let operation = self.operation();
        match self {
            Self::Ecs { .. } => ApiError::new(
                400,
                "AccessDeniedException",
                format!("The role is not authorized to perform: ecs:{operation}"),
            ),
            Self::Ssm { .. } => ApiError::new(
                400,
                "AccessDeniedException",
                format!("The role is not authorized to perform: ssm:{operation}"),
            ),
            Self::Ec2 { .. } => ApiError::new(
                403,
                "UnauthorizedOperation",
                format!("You are not authorized to perform this operation: ec2:{operation}"),
            ),
        }
    }

    /// The beginning of an answer.
    fn broken(&self) -> String {
        match self {
            Self::Ecs { .. } => "{\"taskArns\":[\"arn:aws:ecs:".to_owned(),
            Self::Ssm { .. } => "{\"InstanceInformationList\":[{\"Inst".to_owned(),
            // Cut off behind its first tag, XML would be an empty answer to the SDK.
            Self::Ec2 { .. } => "<?xml version=\"1.0\"?>\n<DescribeInst".to_owned(),
        }
    }

    fn plain(&self, body: String) -> Answer {
        match self {
            Self::Ecs { .. } | Self::Ssm { .. } => response(200, ECS_TYPE, body),
            Self::Ec2 { .. } => response(200, EC2_TYPE, body),
        }
    }

    fn error(&self, error: &ApiError) -> Answer {
        match self {
            Self::Ecs { .. } | Self::Ssm { .. } => ecs_error(error),
            Self::Ec2 { .. } => {
                let body = ec2::error_body(error, &request_id());
                response(error.status, EC2_TYPE, body)
            }
        }
    }
}

fn json_body(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(body)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| {
            let message = "The body of the request is not a JSON object.";
            ApiError::new(400, "SerializationException", message)
        })
}

fn ecs_error(error: &ApiError) -> Answer {
    let body = json!({ "__type": error.code, "message": error.message });
    response(error.status, ECS_TYPE, body.to_string())
}

fn request_id() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    let mut groups = Vec::new();
    let mut rest = hex.as_str();
    for length in [8, 4, 4, 4, 12] {
        let (group, after) = rest.split_at(length);
        groups.push(group);
        rest = after;
    }
    groups.join("-")
}

/// An answer with all headers that AWS sends and clients look at.
pub(crate) fn response(status: u16, content_type: &'static str, body: String) -> Answer {
    let length = body.len();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, http::HeaderValue::from(length));
    if let Ok(id) = http::HeaderValue::from_str(&request_id()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
