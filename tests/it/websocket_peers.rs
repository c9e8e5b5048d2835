//! WebSockets with a client and a server that nobody here wrote: websockets for Python.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use longshore_tests::process::{Process, TempFile, free_port};

/// A process of `websocket_peers.py`, and what it says.
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
                "LONGSHORE_DNS does not name a Python with websockets; see tests/README.md"
            );
            // Past the test harness, which swallows what passing tests print.
            let note = b"skipped: websockets for Python because LONGSHORE_SKIP_MOTO=1\n";
            drop(std::io::stderr().write_all(note));
            return None;
        };
        let mut process = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("websocket_peers.py"))
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

#[test]
fn pythons_websockets_talk_through_the_balancer_and_are_told_to_go() {
    let Some(mut server) = Peer::start(&["server"]) else {
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
    let mut client = Peer::start(&["client", &format!("ws://{address}/")]).expect("as before");
    assert_eq!(client.line(), "open", "all that it sent has come back");
    process.signal("TERM");
    assert_eq!(client.line(), "closed 1001");
    assert!(client.process.wait().expect("it ends").success());
    assert!(process.wait().success());
}
