//! A real gRPC server: Python's grpcio with its health service.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A server. It ends when dropped.
pub struct GrpcServer {
    /// Where it listens.
    pub address: SocketAddr,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        self.process.kill().unwrap_or_default();
        self.process.wait().map(drop).unwrap_or_default();
    }
}

impl GrpcServer {
    /// Starts one. None if tests go without Python programs; see [`crate::dns::Zone::start`].
    ///
    /// # Panics
    /// If `LONGSHORE_DNS` is not set, unless `LONGSHORE_SKIP_MOTO=1` is.
    #[must_use]
    pub fn start() -> Option<Self> {
        let Some(python) = std::env::var_os("LONGSHORE_DNS") else {
            let skip = std::env::var_os("LONGSHORE_SKIP_MOTO").is_some_and(|value| value == "1");
            assert!(
                skip,
                "LONGSHORE_DNS does not name a Python with grpcio. Use tests/run, which installs \
                 one, or set LONGSHORE_SKIP_MOTO=1 to go without"
            );
            // Past the test harness, which swallows what passing tests print.
            let note = b"skipped: the gRPC server because LONGSHORE_SKIP_MOTO=1\n";
            drop(std::io::stderr().write_all(note));
            return None;
        };
        let mut process = Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/grpc_server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("LONGSHORE_DNS, {}: {error}", python.display()));
        let input = process.stdin.take().expect("piped");
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("text");
        let address = line.trim().strip_prefix("listening ");
        let address = address.and_then(|text| text.parse().ok());
        Some(Self {
            address: address.unwrap_or_else(|| panic!("no gRPC server: {line:?}")),
            process,
            input,
            output,
        })
    }

    /// Sets what the server says of a service, and waits until it does.
    pub fn set(&mut self, service: &str, status: &str) {
        let told = format!("{service} {status}\n");
        self.input.write_all(told.as_bytes()).expect("it reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        assert_eq!(line, told);
    }
}
