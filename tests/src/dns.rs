//! DNS servers, a real one in a process of its own and one that says what the test wants, and
//! targets with addresses to put into them.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use crate::origin::{Origin, read, response};
use crate::process::TempFile;
use crate::wire::Wire;

/// A zone, `internal.`, and the process that serves it.
pub struct Zone {
    /// Where the server listens, with UDP and TCP.
    pub address: SocketAddr,
    python: PathBuf,
    file: TempFile,
    process: Option<Child>,
}

impl Drop for Zone {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Zone {
    /// Starts a server for these records of `internal.`, with more arguments for it. None where
    /// somebody decided to go without.
    ///
    /// # Panics
    /// If `LONGSHORE_DNS` is not set, unless `LONGSHORE_SKIP_MOTO=1` is: both servers are Python
    /// programs of one environment.
    #[must_use]
    pub fn start(records: &str, arguments: &[&str]) -> Option<Self> {
        let python = crate::python::python("dnslib")?;
        let mut zone = Self {
            address: ([127, 0, 0, 1], 0).into(),
            python: python.into(),
            file: TempFile::new(""),
            process: None,
        };
        zone.write(records);
        zone.run(arguments);
        Some(zone)
    }

    /// Replaces all records at once.
    pub fn write(&self, records: &str) {
        let text =
            format!("internal. 60 IN SOA ns.internal. admin.internal. 1 60 60 60 0\n{records}\n");
        // Whoever reads meanwhile must see the old zone or the new one, and no half of it.
        let next = self.file.path().with_extension("next");
        std::fs::write(&next, text).expect("written");
        std::fs::rename(&next, self.file.path()).expect("renamed");
    }

    /// Ends the server. Its ports are closed.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself; either way it is waited for, so that none is left.
            drop(process.kill());
            drop(process.wait());
        }
    }

    /// Starts the server anew where it was.
    pub fn run(&mut self, arguments: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("dns_server.py");
        let mut process = Command::new(&self.python)
            .arg(script)
            .arg(self.file.path())
            .args(["--port", &self.address.port().to_string()])
            .args(arguments)
            // It ends with its input, and so with the test, however that ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("LONGSHORE_DNS, {}: {error}", self.python.display()));
        let stdout = process.stdout.take().expect("piped");
        self.process = Some(process);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let address = line.trim().strip_prefix("listening ");
        let address = address.and_then(|text| text.parse().ok());
        self.address = address.unwrap_or_else(|| panic!("no DNS server: {line:?}"));
    }
}

/// What a scripted server says to a question.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A records with a TTL of 0.
    Addresses(Vec<Ipv4Addr>),
    /// Only the truncation bit over UDP; over TCP the A records.
    Truncated(Vec<Ipv4Addr>),
    /// Only the truncation bit, over TCP as well.
    TruncatedAlways,
    /// No records, but the zone's SOA record, and a response code: 3 is NXDOMAIN, 0 NODATA.
    Negative(u8),
    /// No records at all, and a response code.
    Code(u8),
    /// Bytes after the head that mean nothing.
    Garbage,
    /// Nothing.
    Silence,
}

/// A server that says what the test wants, in bytes written here. It ends when dropped.
pub struct Scripted {
    /// Where it listens, with UDP and TCP.
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    tasks: [JoinHandle<()>; 2],
}

struct Script {
    next: VecDeque<Reply>,
    always: Reply,
    /// The number of the latest question and what it got, so that a repeated one gets the same.
    latest: Option<(u16, Reply)>,
    questions: usize,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Scripted {
    /// Starts one that says this to each question.
    pub async fn start(always: Reply) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
            // Somebody else may have that port with TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("bound");
        let script = Arc::new(Mutex::new(Script {
            next: VecDeque::new(),
            always,
            latest: None,
            questions: 0,
        }));
        let datagrams = {
            let script = Arc::clone(&script);
            tokio::spawn(async move {
                let mut question = [0; 4096];
                while let Ok((length, from)) = udp.recv_from(&mut question).await {
                    let question = question.get(..length).expect("within the buffer");
                    if let Some(answer) = answer(&script, question, false) {
                        // Whoever asked may be gone.
                        drop(udp.send_to(&answer, from).await);
                    }
                }
            })
        };
        let streams = {
            let script = Arc::clone(&script);
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = tcp.accept().await {
                    // One question for each connection.
                    let Ok(length) = stream.read_u16().await else {
                        continue;
                    };
                    let mut question = vec![0; length.into()];
                    if stream.read_exact(&mut question).await.is_err() {
                        continue;
                    }
                    if let Some(answer) = answer(&script, &question, true) {
                        let length = u16::try_from(answer.len()).expect("a DNS message");
                        let bytes = [&length.to_be_bytes(), answer.as_slice()].concat();
                        // Whoever asked may be gone.
                        drop(stream.write_all(&bytes).await);
                    }
                }
            })
        };
        Self {
            address,
            script,
            tasks: [datagrams, streams],
        }
    }

    /// Says this to each question from now on.
    pub fn always(&self, reply: Reply) {
        self.script.lock().expect("not poisoned").always = reply;
    }

    /// Says this to the next question, after those that were given before.
    pub fn once(&self, reply: Reply) {
        self.script
            .lock()
            .expect("not poisoned")
            .next
            .push_back(reply);
    }

    /// How many different questions it got.
    #[must_use]
    pub fn questions(&self) -> usize {
        self.script.lock().expect("not poisoned").questions
    }
}

/// The message for a question (RFC 1035, section 4).
fn answer(script: &Mutex<Script>, question: &[u8], stream: bool) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes([question[0], question[1]]);
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)?;
    // The name with its end, type and class.
    let asked = question.get(12..12 + name + 5)?;
    let reply = {
        let mut script = script.lock().expect("not poisoned");
        match &script.latest {
            Some((latest, reply)) if *latest == id => reply.clone(),
            _ => {
                let reply = script.next.pop_front();
                let reply = reply.unwrap_or_else(|| script.always.clone());
                script.latest = Some((id, reply.clone()));
                script.questions += 1;
                reply
            }
        }
    };
    let (truncated, code, addresses, soa) = match reply {
        Reply::Silence => return None,
        Reply::Garbage => {
            let head = [&question[..2], &[0x81, 0x80, 0, 1, 0, 9, 0, 0, 0, 0]].concat();
            return Some([head.as_slice(), asked, &[0xff; 7]].concat());
        }
        Reply::Truncated(addresses) if stream => (false, 0, addresses, false),
        Reply::Truncated(_) | Reply::TruncatedAlways => (true, 0, Vec::new(), false),
        Reply::Addresses(addresses) => (false, 0, addresses, false),
        Reply::Negative(code) => (false, code, Vec::new(), true),
        Reply::Code(code) => (false, code, Vec::new(), false),
    };
    let count = u8::try_from(addresses.len()).expect("some addresses");
    let mut message = question[..2].to_vec();
    message.extend([0x85 | (u8::from(truncated) << 1), 0x80 | code]);
    message.extend([0, 1, 0, count, 0, u8::from(soa), 0, 0]);
    message.extend(asked);
    for address in addresses {
        // The name of the question, type A, class IN, TTL 0.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        message.extend(address.octets());
    }
    if soa {
        // The root's SOA record: two names and five numbers.
        message.extend([0, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22]);
        message.extend([0; 22]);
    }
    Some(message)
}

/// Addresses of the loopback network that no other test uses: a group of A records has one port,
/// so each target needs an address of its own.
pub struct Site {
    number: u8,
    /// The port of its targets; 0 before the first one.
    pub port: u16,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// One of its own.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            port: 0,
        }
    }

    /// The address of a host.
    #[must_use]
    pub fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 71, self.number, host)
    }

    /// A target that answers with its own address, at the port of those before it.
    pub async fn target(&mut self, host: u8) -> Origin {
        let address = SocketAddr::from((self.address(host), self.port));
        let body = response(200, &self.address(host).to_string());
        let origin = Origin::at(address, move |mut wire: Wire, _| {
            let body = body.clone();
            async move {
                while read(&mut wire).await.is_some() {
                    // A balancer that is gone does not read; that is its right.
                    if wire.stream.write_all(&body).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        self.port = origin.address.port();
        origin
    }

    /// A records of `app.internal.` for hosts, with a TTL of 0.
    #[must_use]
    pub fn records(&self, hosts: &[u8]) -> String {
        let record = |host: &u8| format!("app.internal. 0 IN A {}\n", self.address(*host));
        hosts.iter().map(record).collect()
    }

    /// The same as a reply.
    #[must_use]
    pub fn addresses(&self, hosts: &[u8]) -> Reply {
        Reply::Addresses(hosts.iter().map(|host| self.address(*host)).collect())
    }
}
