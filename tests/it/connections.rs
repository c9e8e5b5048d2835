//! Limits on client connections, and the time before the listeners close.

use longshore_tests::balancer::{self, fixed};
use longshore_tests::eventually;
use longshore_tests::origin::Origin;
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::wire::Wire;

#[tokio::test]
async fn a_connection_too_many_is_answered_with_503_and_the_others_go_on() {
    let origin = Origin::ok("ok").await;
    for (limit, reason) in [
        ("max_connections: 2", "connection_limit"),
        ("max_connections_per_source: 2", "source_connection_limit"),
    ] {
        let top = format!("runtime: {{{limit}}}");
        let text = fixed(&[origin.address], "health_check: {enabled: false}", &top);
        let running = balancer::start(&text).await;
        let address = running.address();
        let (mut a, mut b) = (Wire::connect(address).await, Wire::connect(address).await);
        assert_eq!(a.get("/").await.status(), 200);
        assert_eq!(b.get("/").await.status(), 200);
        let mut shed = Wire::connect(address).await;
        let got = shed.get("/").await;
        assert_eq!((got.status(), got.reason()), (503, Some(reason)));
        assert_eq!(got.head.get("connection"), Some("close"));
        assert_eq!(a.get("/").await.status(), 200, "the others go on");
        drop((b, shed));
        eventually("there is room again", async || {
            let got = Wire::connect(address).await.get("/").await;
            (got.status() == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn during_the_shutdown_delay_it_is_not_ready_and_serves_all() {
    let origin = Origin::ok("ok").await;
    let (port, admin) = (free_port(), free_port());
    let file = TempFile::new(&format!(
        "admin: {{address: '127.0.0.1:{admin}'}}
runtime: {{shutdown_delay: 2s}}
listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: app}}]}}]
target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]
",
        origin.address.port()
    ));
    let (mut process, address) = Process::run(&file);
    let admin: std::net::SocketAddr = ([127, 0, 0, 1], admin).into();
    process.signal("TERM");
    process.wait_for_line("draining");
    eventually("it is not ready", async || {
        let got = Wire::connect(admin).await.get("/readyz").await;
        (got.status() == 503).then_some(())
    })
    .await;
    let got = Wire::connect(address).await.get("/").await;
    assert_eq!(got.status(), 200, "it accepts");
    assert!(process.wait().success());
}

#[tokio::test]
async fn with_too_much_memory_new_connections_get_503_until_there_is_less_or_more_is_allowed() {
    let origin = Origin::ok("ok").await;
    let text = |most: &str| {
        let top = format!("runtime: {{max_memory: {most}}}");
        fixed(&[origin.address], "health_check: {enabled: false}", &top)
    };
    let mut running = balancer::start(&text("1099511627776")).await;
    let address = running.address();
    let mut early = Wire::connect(address).await;
    assert_eq!(early.get("/").await.status(), 200);
    // This process has more than the least that a file may say.
    let little = balancer::config(&text("33554432"));
    running.balancer.reload(little).await.expect("reloaded");
    let got = eventually("new connections are refused", async || {
        let got = Wire::connect(address).await.get("/").await;
        (got.status() == 503).then_some(got)
    })
    .await;
    assert_eq!(got.reason(), Some("memory_limit"));
    assert_eq!(
        early.get("/").await.status(),
        200,
        "who is connected goes on"
    );
    let much = balancer::config(&text("1099511627776"));
    running.balancer.reload(much).await.expect("reloaded");
    eventually("they are taken again", async || {
        let got = Wire::connect(address).await.get("/").await;
        (got.status() == 200).then_some(())
    })
    .await;
}
