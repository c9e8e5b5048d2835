//! gRPC with a client and a server that nobody here wrote: Python's grpcio.

use longshore_tests::certificates::{Folder, Key};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::python::Peer;

/// All four kinds of calls, up to 16 MiB, with metadata at both ends; errors of the server, and of
/// the balancer where no rule holds; a deadline; a call that its client leaves; a thousand streams
/// at a time.
#[test]
fn pythons_grpc_client_and_server_talk_through_the_balancer() {
    talk(None);
}

/// The same over TLS, where the client wants HTTP/2 by ALPN and knows the certificate.
#[test]
fn pythons_grpc_client_and_server_talk_through_the_balancer_over_tls() {
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    talk(Some(&folder));
}

fn talk(tls: Option<&Folder>) {
    let Some(mut server) = Peer::start("grpc_peers.py", "grpcio", &["server"]) else {
        return;
    };
    let address = server.line();
    let at = address.strip_prefix("listening 127.0.0.1:").expect("where");
    let protocol = tls.map_or_else(String::new, |folder| {
        let (cert, key) = (folder.path("site.pem"), folder.path("site.key"));
        format!("    protocol: HTTPS\n    certificates: [{{cert: {cert}, key: {key}}}]\n")
    });
    let config = TempFile::new(&format!(
        "runtime: {{workers: 2}}\nlisteners:\n  - name: web\n    address: 127.0.0.1:{}\n{protocol}    \
         default_action: [{{type: fixed_response, fixed_response: {{status_code: 404}}}}]\n    \
         rules:\n      - priority: 1\n        condition: [{{path_pattern: {{values: [/shop.Cart/*]}}}}]\n        \
         action: [{{type: forward, target_group: app}}]\n\
         target_groups:\n  - name: app\n    protocol_version: GRPC\n    targets: [{{address: 127.0.0.1, port: {at}}}]\n    \
         health_check: {{interval: 5, healthy_threshold: 2}}\n",
        free_port(),
    ));
    let (_process, address) = Process::run(&config);
    let mut words = vec!["client".to_owned(), address.to_string()];
    words.extend(tls.map(|folder| folder.path("site.pem")));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut client = Peer::start("grpc_peers.py", "grpcio", &words).expect("as before");
    for part in ["unary", "streams", "errors", "cancellations", "many"] {
        assert_eq!(client.line(), format!("ok {part}"));
    }
    assert!(client.process.wait().expect("it ends").success());
    // The deadline was in the request, and both ends of calls have come.
    let mut said: Vec<_> = (0..3).map(|_| server.line()).collect();
    said.sort();
    assert_eq!(
        said,
        ["cancelled endless", "cancelled slow", "deadline True"]
    );
}
