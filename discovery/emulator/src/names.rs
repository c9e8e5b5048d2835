//! ARNs and ids: how they are built, and what a caller may write instead of them.

use crate::options::Options;

/// The ARN of a cluster.
pub(crate) fn cluster(options: &Options, cluster: &str) -> String {
    arn(options, "cluster", cluster)
}

/// The ARN of a service.
pub(crate) fn service(options: &Options, cluster: &str, service: &str) -> String {
    arn(options, "service", &format!("{cluster}/{service}"))
}

/// The ARN of a task set.
pub(crate) fn task_set(options: &Options, cluster: &str, service: &str, id: &str) -> String {
    arn(options, "task-set", &format!("{cluster}/{service}/{id}"))
}

/// The ARN of a task.
pub(crate) fn task(options: &Options, cluster: &str, id: &str) -> String {
    arn(options, "task", &format!("{cluster}/{id}"))
}

/// The ARN of a container instance.
pub(crate) fn container_instance(options: &Options, cluster: &str, id: &str) -> String {
    arn(options, "container-instance", &format!("{cluster}/{id}"))
}

/// The ARN of a container of a task.
pub(crate) fn container(options: &Options, cluster: &str, task: &str, id: &str) -> String {
    arn(options, "container", &format!("{cluster}/{task}/{id}"))
}

/// The ARN of one revision of a task definition.
pub(crate) fn task_definition(options: &Options, family: &str, revision: usize) -> String {
    arn(options, "task-definition", &format!("{family}:{revision}"))
}

fn arn(options: &Options, kind: &str, rest: &str) -> String {
    let Options {
        region, account, ..
    } = options;
    format!("arn:aws:ecs:{region}:{account}:{kind}/{rest}")
}

/// The part after the last slash: an id or a name, whether a name or an ARN was given.
pub(crate) fn short(name_or_arn: &str) -> &str {
    name_or_arn
        .rsplit_once('/')
        .map_or(name_or_arn, |(_, last)| last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_arn_have_the_same_short_form() {
        let arn = task(&Options::default(), "demo", "0123");
        assert_eq!(arn, "arn:aws:ecs:eu-central-1:123456789012:task/demo/0123");
        assert_eq!(short(&arn), "0123");
        assert_eq!(short("0123"), "0123");
    }
}
