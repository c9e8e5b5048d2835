//! gRPC with a client and a server that nobody here wrote: Python's grpcio.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use longshore_tests::process::{Process, TempFile, free_port};

/// A process of `grpc_peers.py`, and what it says.
struct Peer {
    process: Child,
    says: BufReader<ChildStdout>,
}

impl Peer {
    /// None where somebody decided to go without, as the tests of DNS do.
    fn start(arguments: &[&str]) -> Option<Self> {
        let Some(python) = std::env::var_os("LONGSHORE_DNS") else {
            let skip = std::env::var_os("LONGSHORE_SKIP_MOTO").is_some_and(|value| value == "1");
            assert!(
                skip,
                "LONGSHORE_DNS does not name a Python with grpcio; see tests/README.md"
            );
            // Past the test harness, which swallows what passing tests print.
            let note = b"skipped: grpcio for Python because LONGSHORE_SKIP_MOTO=1\n";
            drop(std::io::stderr().write_all(note));
            return None;
        };
        let mut process = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("grpc_peers.py"))
            .args(arguments)
            // The server ends with its input, and so with the test, however that ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("LONGSHORE_DNS names a Python");
        let says = BufReader::new(process.stdout.take().expect("piped"));
        Some(Self { process, says })
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("text");
        line.trim().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for, so that none is left.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// All four kinds of calls, up to 16 MiB, with metadata at both ends; errors of the server, and of
/// the balancer where no rule holds; a deadline; a call that its client leaves; a thousand streams
/// at a time.
#[test]
fn pythons_grpc_client_and_server_talk_through_the_balancer() {
    let Some(mut server) = Peer::start(&["server"]) else {
        return;
    };
    let address = server.line();
    let at = address.strip_prefix("listening 127.0.0.1:").expect("where");
    let config = TempFile::new(&format!(
        "runtime: {{workers: 2}}\nlisteners:\n  - name: web\n    address: 127.0.0.1:{}\n    \
         default_action: [{{type: fixed_response, fixed_response: {{status_code: 404}}}}]\n    \
         rules:\n      - priority: 1\n        condition: [{{path_pattern: {{values: [/shop.Cart/*]}}}}]\n        \
         action: [{{type: forward, target_group: app}}]\n\
         target_groups:\n  - name: app\n    protocol_version: GRPC\n    targets: [{{address: 127.0.0.1, port: {at}}}]\n    \
         health_check: {{interval: 5, healthy_threshold: 2}}\n",
        free_port(),
    ));
    let (_process, address) = Process::run(&config);
    let mut client = Peer::start(&["client", &address.to_string()]).expect("as before");
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
