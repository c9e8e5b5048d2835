//! A balancer in the test's process, on ports that the kernel chooses.

use std::net::SocketAddr;

use longshore::app::{Balancer, Options};
use longshore::control::view::{GroupView, TargetView};
use longshore_config::Config;
use longshore_discovery::ecs::Aws;

use crate::certificates::Folder;
use crate::origin::Origin;
use crate::wire::Wire;

/// Reads a configuration. Its listeners' ports become 0, which a file may not say.
#[must_use]
pub fn config(text: &str) -> Config {
    let mut config = longshore_config::parse("test", text, &|_| None)
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    for listener in &mut config.listeners {
        listener.address = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    }
    if let Some(admin) = &mut config.admin {
        admin.address = SocketAddr::from(([127, 0, 0, 1], 0));
    }
    config
}

/// The text of a configuration with one listener and one group of fixed targets. `group` holds
/// more keys of the group, one a line, and `top` more keys of the file.
#[must_use]
pub fn fixed(targets: &[SocketAddr], group: &str, top: &str) -> String {
    let list = if targets.is_empty() {
        " []".to_owned()
    } else {
        targets
            .iter()
            .map(|at| format!("\n      - {{address: {}, port: {}}}", at.ip(), at.port()))
            .collect()
    };
    let group: String = group.lines().map(|line| format!("\n    {line}")).collect();
    format!(
        "{top}\nlisteners:\n  - name: web\n    address: 127.0.0.1:1\n    default_action: [{{type: forward, target_group: app}}]\n\
         target_groups:\n  - name: app\n    targets:{list}{group}\n"
    )
}

/// A running balancer.
pub struct Running {
    /// The balancer.
    pub balancer: Balancer,
}

/// Starts a balancer; see [`config`].
pub async fn start(text: &str) -> Running {
    start_with(text, Aws::Environment).await
}

/// Starts a balancer with AWS at another place.
pub async fn start_with(text: &str, aws: Aws) -> Running {
    let options = Options { aws, seed: 1 };
    let balancer = Balancer::start(config(text), options)
        .await
        .expect("the balancer starts");
    Running { balancer }
}

/// Starts a balancer with an HTTPS listener before an origin that answers. `name` is that of the
/// certificate in the folder; `$` in `mutual`, the keys of mutual TLS, is the folder.
pub async fn https(folder: &Folder, name: &str, mutual: &str) -> (Running, Origin) {
    let origin = Origin::ok("hello").await;
    let running = https_to(folder, name, mutual, origin.address).await;
    (running, origin)
}

/// The same before another target.
pub async fn https_to(folder: &Folder, name: &str, mutual: &str, target: SocketAddr) -> Running {
    let cert = folder.path(&format!("{name}.pem"));
    let key = folder.path(&format!("{name}.key"));
    let mutual = mutual.replace("$", &folder.path(""));
    let text = format!(
        "listeners:\n  - name: web\n    address: 127.0.0.1:1\n    protocol: HTTPS\n    \
         certificates: [{{cert: {cert}, key: {key}}}]\n    mutual_authentication: {{{mutual}}}\n    \
         default_action: [{{type: forward, target_group: app}}]\n\
         target_groups:\n  - name: app\n    targets: [{{address: 127.0.0.1, port: {}}}]\n    health_check: {{enabled: false}}\n",
        target.port()
    );
    start(&text).await
}

impl Running {
    /// The address of the first listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.balancer.addresses()[0].1
    }

    /// What operators see of the first group.
    pub async fn group(&self) -> GroupView {
        let mut view = self
            .balancer
            .targets()
            .await
            .expect("the control task lives");
        view.target_groups.remove(0)
    }

    /// The targets of the first group in a state.
    pub async fn targets(&self, state: &str) -> Vec<TargetView> {
        let group = self.group().await;
        group
            .targets
            .into_iter()
            .filter(|target| target.state == state)
            .collect()
    }

    /// The value of a metric without labels. It must have an admin server.
    pub async fn metric(&self, name: &str) -> u64 {
        let admin = self.balancer.admin_address().expect("it has one");
        let text = Wire::connect(admin).await.get("/metrics").await.text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .and_then(|value| value.parse().ok())
            .expect("a number")
    }

    /// Waits until that many targets of the first group are in a state.
    pub async fn wait_for(&self, state: &str, count: usize) {
        crate::eventually(&format!("{count} targets are {state}"), async || {
            (self.targets(state).await.len() == count).then_some(())
        })
        .await;
    }
}
