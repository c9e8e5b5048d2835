//! Faults of the keys about the PROXY protocol.

use longshore_config::{ProxyProtocol, parse};

fn read(listener: &str, group: &str) -> Result<longshore_config::Config, String> {
    let text = format!(
        "listeners:
  - name: web
    port: 80
    {listener}
    default_action: [{{type: forward, target_group: app}}]
target_groups:
  - name: app
    {group}
"
    );
    parse("f.yaml", &text, &|_| None).map_err(|errors| errors.to_string())
}

#[test]
fn networks_and_versions_are_read() {
    let config = read(
        "proxy_protocol: {trusted: [10.0.0.0/8, \"::1\"]}",
        "proxy_protocol: v2",
    )
    .expect("valid");
    let trusted = config.listeners[0].proxy_protocol.as_ref();
    assert_eq!(trusted.map(|with| with.trusted.len()), Some(2));
    let version = config.target_groups[0].proxy_protocol;
    assert_eq!(version, Some(ProxyProtocol::V2));
}

#[test]
fn each_fault_names_its_place_and_its_mend() {
    for (listener, group, wanted) in [
        (
            "proxy_protocol: {trusted: []}",
            "targets: []",
            "f.yaml:4:21: listeners[0].proxy_protocol: `trusted` is empty",
        ),
        ("proxy_protocol: {}", "targets: []", "trusted"),
        (
            "proxy_protocol: {trusted: [10.0.0.0/33]}",
            "targets: []",
            "a network such as 10.0.0.0/8",
        ),
        ("rules: []", "proxy_protocol: v3", "v1"),
        (
            "rules: []",
            "protocol_version: GRPC\n    proxy_protocol: v1",
            "needs `protocol_version: HTTP1`",
        ),
    ] {
        let told = read(listener, group).expect_err(wanted);
        assert!(told.contains(wanted), "{told}");
    }
}
