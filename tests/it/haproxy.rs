//! HAProxy as the other side of the PROXY protocol, in both directions. Without it on the machine
//! these are left out, and say so.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use longshore_tests::balancer::{fixed, start};
use longshore_tests::origin::Origin;
use longshore_tests::process::{Killed, TempFile, free_port};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use tokio::net::{TcpSocket, TcpStream};

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 9, 8, 7);

/// A running HAProxy. It ends when dropped, with its file.
struct HaProxy {
    _child: Killed,
    _file: TempFile,
}

impl HaProxy {
    /// Starts with these sections, and waits for the port.
    async fn start(sections: &str, port: u16) -> Self {
        let file = TempFile::new(&format!(
            "global\n  maxconn 100\ndefaults\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n{sections}"
        ));
        let child = Command::new(executable().expect("looked for before"))
            .arg("-db")
            .arg("-f")
            .arg(file.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        let running = Self {
            _child: Killed(child),
            _file: file,
        };
        eventually("HAProxy accepts", async || {
            TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
        })
        .await;
        running
    }
}

fn executable() -> Option<PathBuf> {
    let named = std::env::var_os("LONGSHORE_HAPROXY").map(PathBuf::from);
    let found = named.unwrap_or_else(|| PathBuf::from("/usr/sbin/haproxy"));
    if !found.exists() {
        println!("left out: there is no {}", found.display());
    }
    found.exists().then_some(found)
}

async fn connect(port: u16) -> (Wire, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((CLIENT, 0).into()).expect("bound");
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = socket.connect(to).await.expect("connected");
    let own = stream.local_addr().expect("connected");
    (stream.into(), own)
}

#[tokio::test]
async fn what_haproxy_says_of_its_client_is_believed() {
    if executable().is_none() {
        return;
    }
    let origin = Origin::ok("yes").await;
    let text = fixed(&[origin.address], "health_check: {enabled: false}", "");
    let text = text.replace(
        "    default_action",
        "    proxy_protocol: {trusted: [127.0.0.1]}\n    default_action",
    );
    let balancer = start(&text).await;
    for says in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c",
    ] {
        let port = free_port();
        let sections = format!(
            "listen in\n  mode tcp\n  bind 127.0.0.1:{port}\n  server us {} {says}\n",
            balancer.address()
        );
        let _haproxy = HaProxy::start(&sections, port).await;
        let (mut client, _) = connect(port).await;
        let response = within("a response", client.get("/")).await;
        assert_eq!(response.text(), "yes", "{says}");
        let seen = origin.seen();
        let head = &seen.last().expect("a request").head;
        assert_eq!(head.get("x-forwarded-for"), Some("127.9.8.7"), "{says}");
        let port = port.to_string();
        assert_eq!(head.get("x-forwarded-port"), Some(&*port), "{says}");
    }
}

#[tokio::test]
async fn haproxy_reads_what_it_is_told_of_a_client() {
    if executable().is_none() {
        return;
    }
    for version in ["v1", "v2"] {
        let port = free_port();
        let sections = format!(
            "frontend out\n  mode http\n  bind 127.0.0.1:{port} accept-proxy\n  \
             http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port] %[dst_port]\"\n"
        );
        let _haproxy = HaProxy::start(&sections, port).await;
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let group = format!("proxy_protocol: {version}");
        let balancer = start(&fixed(&[target], &group, "")).await;
        // Its checks pass, which they would not without a header.
        balancer.wait_for("healthy", 1).await;
        let (mut client, own) = connect(balancer.address().port()).await;
        let response = within("a response", client.get("/")).await;
        let wanted = format!("{own} {}", balancer.address().port());
        assert_eq!(response.text(), wanted, "{version}");
    }
}
