//! `longshore events-policy`: what AWS must be told so that events arrive and may be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use longshore_config::{Config, EcsDiscovery};
use serde_json::{Value, json};

use super::print_out;

/// The rule of EventBridge; any name will do.
const RULE: &str = "longshore-ecs";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let config = match longshore_config::load(&arguments.config) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    match text(&config) {
        Some(text) => print_out(&text),
        None => {
            eprintln!("longshore: nothing in the file is discovered from ECS");
            ExitCode::FAILURE
        }
    }
}

/// Where a source is, as far as the file tells. What it does not tell stays a word in capitals.
struct Place {
    partition: &'static str,
    region: String,
    account: String,
}

impl Place {
    fn of(spec: &EcsDiscovery) -> Self {
        let cluster: Vec<&str> = spec.cluster.split(':').collect();
        let url = spec.events_queue.as_deref().and_then(queue_url);
        let region = spec.region.as_deref();
        let region = region.or(cluster.get(3).copied()).or(url.map(|url| url.0));
        let account = cluster.get(4).copied().or(url.map(|url| url.1));
        let region = region.unwrap_or("REGION").to_owned();
        Self {
            partition: match region.as_str() {
                region if region.starts_with("cn-") => "aws-cn",
                region if region.starts_with("us-gov-") => "aws-us-gov",
                _ => "aws",
            },
            region,
            account: account.unwrap_or("ACCOUNT").to_owned(),
        }
    }

    fn arn(&self, service: &str, resource: &str) -> String {
        let Self {
            partition,
            region,
            account,
        } = self;
        format!("arn:{partition}:{service}:{region}:{account}:{resource}")
    }

    fn cluster(&self, spec: &EcsDiscovery) -> String {
        match spec.cluster.starts_with("arn:") {
            true => spec.cluster.clone(),
            false => self.arn("ecs", &format!("cluster/{}", spec.cluster)),
        }
    }
}

/// Region and account of `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`.
fn queue_url(queue: &str) -> Option<(&str, &str)> {
    let (host, path) = queue.strip_prefix("https://sqs.")?.split_once('/')?;
    Some((host.split('.').next()?, path.split('/').next()?))
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// What a queue is to hear of.
#[derive(Default)]
struct Wanted {
    clusters: BTreeSet<String>,
    services: BTreeSet<String>,
    /// Not only of those.
    all: bool,
    rule: String,
}

/// The rule and the policy for each queue, and the policy for Longshore. None without ECS sources.
fn text(config: &Config) -> Option<String> {
    let groups = config.target_groups.iter();
    let services = groups.filter_map(|group| group.discovery.as_ref()?.ecs.clone());
    let labels = config.label_discovery.iter();
    let clusters = labels.filter_map(|block| Some(block.ecs.as_ref()?.as_service()));
    let sources: Vec<EcsDiscovery> = services.chain(clusters).collect();
    if sources.is_empty() {
        return None;
    }
    let mut clusters = BTreeSet::new();
    let mut queues: BTreeMap<String, Wanted> = BTreeMap::new();
    for spec in &sources {
        let place = Place::of(spec);
        let cluster = place.cluster(spec);
        clusters.insert(cluster.clone());
        if let Some(queue) = &spec.events_queue {
            let wanted = queues.entry(place.arn("sqs", last(queue))).or_default();
            wanted.clusters.insert(cluster);
            match spec.service.as_str() {
                // Labels may be on any task of the cluster.
                "" => wanted.all = true,
                service => {
                    wanted.services.insert(format!("service:{}", last(service)));
                }
            }
            wanted.rule = place.arn("events", &format!("rule/{RULE}"));
        }
    }
    let mut out = String::new();
    let mut part = |title: &str, value: &Value| {
        out.push_str(&format!("# {title}\n{value:#}\n\n"));
    };
    for (queue, wanted) in &queues {
        let title = format!("Event pattern of the rule {RULE} with the target {queue}");
        part(&title, &pattern(wanted));
        part(
            &format!("Policy of the queue {queue}"),
            &queue_policy(queue, &wanted.rule),
        );
    }
    let queues: Vec<&String> = queues.keys().collect();
    part(
        "Policy of the role that Longshore runs with",
        &role_policy(&clusters, &queues),
    );
    Some(out.trim_end().to_owned() + "\n")
}

fn pattern(wanted: &Wanted) -> Value {
    let mut detail = json!({
        "clusterArn": wanted.clusters,
        "$or": [{ "lastStatus": ["RUNNING", "STOPPED"] }, { "desiredStatus": ["STOPPED"] }],
    });
    if !wanted.all {
        detail["group"] = json!(wanted.services);
    }
    json!({
        "source": ["aws.ecs"],
        "detail-type": ["ECS Task State Change"],
        "detail": detail,
    })
}

fn queue_policy(queue: &str, rule: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": "events.amazonaws.com" },
            "Action": "sqs:SendMessage",
            "Resource": queue,
            "Condition": { "ArnEquals": { "aws:SourceArn": rule } },
        }],
    })
}

fn role_policy(clusters: &BTreeSet<String>, queues: &[&String]) -> Value {
    let within = json!({ "ArnEquals": { "ecs:cluster": clusters } });
    let mut statements = vec![
        json!({
            "Sid": "Polling",
            "Effect": "Allow",
            "Action": ["ecs:ListTasks", "ecs:DescribeTasks", "ecs:DescribeServices"],
            "Resource": "*",
            "Condition": within,
        }),
        json!({
            "Sid": "HostsOfTasks",
            "Effect": "Allow",
            "Action": "ecs:DescribeContainerInstances",
            "Resource": "*",
            "Condition": within,
        }),
        json!({
            "Sid": "AddressesOfHosts",
            "Effect": "Allow",
            "Action": ["ec2:DescribeInstances", "ssm:DescribeInstanceInformation"],
            "Resource": "*",
        }),
        json!({
            "Sid": "PortsOfTasks",
            "Effect": "Allow",
            "Action": "ecs:DescribeTaskDefinition",
            "Resource": "*",
        }),
    ];
    if !queues.is_empty() {
        statements.push(json!({
            "Sid": "Events",
            "Effect": "Allow",
            "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueUrl"],
            "Resource": queues,
        }));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    fn printed(groups: &str) -> Option<String> {
        let text = format!(
            "listeners: [{{name: web, port: 80, default_action: [{{type: forward, target_group: a}}]}}]
target_groups:\n{groups}"
        );
        let config = longshore_config::parse("test", &text, &|_| None);
        super::text(&config.unwrap_or_else(|errors| panic!("{errors}")))
    }

    /// The JSON texts, each behind its title.
    fn parts(text: &str) -> Vec<Value> {
        let parts = text.split("\n\n").map(|part| {
            let (title, json) = part.split_once('\n').expect("a title");
            assert!(title.starts_with("# "), "{title}");
            serde_json::from_str(json).expect("JSON")
        });
        parts.collect()
    }

    #[test]
    fn two_services_on_one_queue_have_one_rule() {
        let url = "https://sqs.eu-central-1.amazonaws.com/123456789012/events";
        let text = printed(&format!(
            "  - {{name: a, discovery: {{ecs: {{cluster: prod, service: web, events_queue: '{url}'}}}}}}
  - {{name: b, discovery: {{ecs: {{cluster: prod, service: api, events_queue: '{url}'}}}}}}\n"
        ));
        let parts = parts(&text.expect("there are sources"));
        let [pattern, queue, role] = parts.as_slice() else {
            panic!("{parts:?}");
        };
        let cluster = "arn:aws:ecs:eu-central-1:123456789012:cluster/prod";
        assert_eq!(pattern["detail"]["clusterArn"][0], cluster);
        assert_eq!(pattern["detail"]["group"][0], "service:api");
        assert_eq!(pattern["detail"]["group"][1], "service:web");
        let arn = "arn:aws:sqs:eu-central-1:123456789012:events";
        assert_eq!(queue["Statement"][0]["Resource"], arn);
        assert_eq!(
            queue["Statement"][0]["Condition"]["ArnEquals"]["aws:SourceArn"],
            "arn:aws:events:eu-central-1:123456789012:rule/longshore-ecs"
        );
        let statements = role["Statement"].as_array().expect("statements");
        let events = statements.iter().find(|it| it["Sid"] == "Events");
        assert_eq!(events.expect("a statement")["Resource"][0], arn);
        let text = role.to_string();
        for action in [
            "ecs:DescribeTaskDefinition",
            "ssm:DescribeInstanceInformation",
        ] {
            assert!(text.contains(action), "{action}: {text}");
        }
        assert_eq!(
            role["Statement"][0]["Condition"]["ArnEquals"]["ecs:cluster"][0],
            cluster
        );
    }

    #[test]
    fn labels_may_be_on_any_task_of_their_cluster() {
        let text = printed(
            "  - {name: a, discovery: {ecs: {cluster: prod, service: web, events_queue: q}}}
label_discovery: [{name: l, listeners: [web], ecs: {cluster: other, events_queue: q}}]\n",
        );
        let parts = parts(&text.expect("there are sources"));
        let detail = &parts[0]["detail"];
        assert_eq!(detail["clusterArn"].as_array().map(Vec::len), Some(2));
        assert!(detail.get("group").is_none(), "{detail}");
    }

    #[test]
    fn what_the_file_does_not_tell_stays_a_word_in_capitals() {
        let text = printed(
            "  - {name: a, discovery: {ecs: {cluster: prod, service: web, events_queue: events}}}\n",
        );
        let text = text.expect("there is a source");
        assert!(text.contains("arn:aws:sqs:REGION:ACCOUNT:events"), "{text}");
    }

    #[test]
    fn without_a_queue_there_is_only_the_policy_for_polling() {
        let text = printed(
            "  - {name: a, discovery: {ecs: {cluster: 'arn:aws-cn:ecs:cn-north-1:1:cluster/c', service: web}}}\n",
        );
        let text = text.expect("there is a source");
        assert_eq!(parts(&text).len(), 1);
        assert!(!text.contains("sqs:") && text.contains("arn:aws-cn:ecs:cn-north-1:1:cluster/c"));
        assert_eq!(printed("  - {name: a}\n"), None);
    }
}
