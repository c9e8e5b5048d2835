//! Services of any kind in a scripted ECS, with a balancer before them.

use std::collections::BTreeSet;

use longshore::control::view::GroupView;
use longshore_discovery::ecs::Aws;
use longshore_emulator::TaskDefinition;

use crate::balancer::{self, Running};
use crate::cluster::{Cluster, listener};
use crate::wire::Wire;
use crate::{eventually, within};

/// Creates a service whose definition has its name, and waits until it serves.
pub async fn serve(cluster: &Cluster, name: &str, count: usize, definition: TaskDefinition) {
    cluster.ecs.register_task_definition(TaskDefinition {
        family: name.to_owned(),
        ..definition
    });
    cluster
        .ecs
        .create_service("prod", name, name, count)
        .expect("created");
    cluster.serving(name, count).await;
}

/// A balancer with a listener and a group for each service, which has more keys for `ecs`.
pub async fn balance(cluster: &Cluster, services: &[(&str, &str)]) -> Running {
    let aws = Aws::Emulator {
        endpoint: cluster.ecs.endpoint_url(),
    };
    balancer::start_with(&file(services), aws).await
}

/// The file of [`balance`].
pub fn file(services: &[(&str, &str)]) -> String {
    let mut text = "listeners:\n".to_owned();
    for (index, (name, _)) in services.iter().enumerate() {
        text.push_str(&format!(
            "  - {{name: {name}, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: {name}}}]}}\n",
            index + 1
        ));
    }
    text.push_str("target_groups:\n");
    for (name, keys) in services {
        let comma = if keys.is_empty() { "" } else { ", " };
        text.push_str(&format!(
            "  - name: {name}\n    \
             discovery: {{ecs: {{cluster: prod, service: {name}, poll_interval: 1s{comma}{keys}}}}}\n    \
             health_check: {{path: /health, interval: 1, timeout: 1}}\n"
        ));
    }
    text
}

/// What operators see of a group.
pub async fn group(balancer: &Running, name: &str) -> GroupView {
    let view = balancer.balancer.targets().await.expect("it runs");
    let mut groups = view.target_groups.into_iter();
    groups.find(|group| group.name == name).expect("a group")
}

/// Waits until a group has so many healthy targets, and sends requests until each has answered.
/// Returns their addresses.
pub async fn reached(balancer: &Running, name: &str, count: usize) -> BTreeSet<String> {
    eventually(
        &format!("{count} targets of {name} are healthy"),
        async || {
            let group = group(balancer, name).await;
            let healthy = group.targets.iter().filter(|t| t.state == "healthy");
            (healthy.count() == count).then_some(())
        },
    )
    .await;
    let mut client = Wire::connect(listener(balancer, name)).await;
    let mut addresses = BTreeSet::new();
    for _ in 0..4 * count {
        let got = within("a response", client.get("/")).await;
        assert_eq!(got.head.get("x-service"), Some(name));
        addresses.insert(got.head.get("x-task-address").expect("told").to_owned());
    }
    assert_eq!(addresses.len(), count, "{addresses:?}");
    addresses
}

/// Waits until a task of a group is none of its targets for a reason.
pub async fn refused(balancer: &Running, name: &str, reason: &str) {
    eventually(&format!("{name} says {reason:?}"), async || {
        let group = group(balancer, name).await;
        assert!(group.targets.is_empty(), "{:?}", group.targets);
        let mut problems = group.not_targets.iter();
        problems
            .any(|problem| problem.reason.contains(reason))
            .then_some(())
    })
    .await;
}
