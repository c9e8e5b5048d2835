//! WebSockets with a client and a server that nobody here wrote: websockets for Python.

use std::net::SocketAddr;

use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::python::Peer;

#[test]
fn pythons_websockets_talk_through_the_balancer_and_are_told_to_go() {
    let Some(mut server) = Peer::start("websocket_peers.py", "websockets", &["server"]) else {
        return;
    };
    let line = server.line();
    let at = line.strip_prefix("listening ");
    let at: SocketAddr = at.and_then(|at| at.parse().ok()).expect("an address");
    let config = TempFile::new(&format!(
        "runtime: {{drain_timeout: 10s, websocket_close_spread: 0s}}\nlisteners: [{{name: web, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]\n",
        free_port(),
        at.port()
    ));
    let (mut process, address) = Process::run(&config);
    let mut client = Peer::start(
        "websocket_peers.py",
        "websockets",
        &["client", &format!("ws://{address}/")],
    )
    .expect("as before");
    assert_eq!(client.line(), "open", "all that it sent has come back");
    process.signal("TERM");
    assert_eq!(client.line(), "closed 1001");
    assert!(client.process.wait().expect("it ends").success());
    assert!(process.wait().success());
}
