//! WebSockets with a client and a server that nobody here wrote: websockets for Python.

use std::net::SocketAddr;

use longshore_tests::certificates::{Folder, Key};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::python::Peer;

#[test]
fn pythons_websockets_talk_through_the_balancer_and_are_told_to_go() {
    talk(None);
}

#[test]
fn pythons_websockets_talk_through_the_balancer_over_tls_and_are_told_to_go() {
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    talk(Some(&folder));
}

fn talk(tls: Option<&Folder>) {
    let Some(mut server) = Peer::start("websocket_peers.py", "websockets", &["server"]) else {
        return;
    };
    let line = server.line();
    let at = line.strip_prefix("listening ");
    let at: SocketAddr = at.and_then(|at| at.parse().ok()).expect("an address");
    let certificate = tls.map(|folder| folder.path("site.pem"));
    let protocol = tls.map_or_else(String::new, |folder| {
        let (cert, key) = (folder.path("site.pem"), folder.path("site.key"));
        format!("protocol: HTTPS, certificates: [{{cert: {cert}, key: {key}}}], ")
    });
    let config = TempFile::new(&format!(
        "runtime: {{drain_timeout: 10s, websocket_close_spread: 0s}}\nlisteners: [{{name: web, address: '127.0.0.1:{}', {protocol}default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]\n",
        free_port(),
        at.port()
    ));
    let (mut process, address) = Process::run(&config);
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    let url = format!("{scheme}://{address}/");
    let mut words = vec!["client", &url];
    words.extend(certificate.as_deref());
    let mut client = Peer::start("websocket_peers.py", "websockets", &words).expect("as before");
    assert_eq!(client.line(), "open", "all that it sent has come back");
    process.signal("TERM");
    assert_eq!(client.line(), "closed 1001");
    assert!(client.process.wait().expect("it ends").success());
    assert!(process.wait().success());
}
