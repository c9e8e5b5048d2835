//! A proxy on Pingora for the comparison: what its authors' quick start makes, with the same health
//! checks and forwarded fields as the others have.
//!
//! `pingora-peer LISTEN THREADS TARGET…`: ports on 127.0.0.1, targets in turn. `--tls CERT KEY` speaks
//! TLS to clients, `--h2` HTTP/2 (beside HTTP/1.1), and `--target-h2` HTTP/2 to targets.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::http::RequestHeader;
use pingora::lb::health_check::{HttpHealthCheck, TcpHealthCheck};
use pingora::lb::{LoadBalancer, selection::RoundRobin};
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::{HttpPeer, ProxyHttp, Server, Session, background_service};
use pingora::proxy::http_proxy_service;
use pingora::server::configuration::ServerConf;

/// What it was asked for.
struct Asked {
    listen: u16,
    threads: usize,
    targets: Vec<SocketAddr>,
    tls: Option<(String, String)>,
    h2: bool,
    target_h2: bool,
}

impl Asked {
    fn read(words: impl Iterator<Item = String>) -> Option<Self> {
        let (mut ports, mut tls, mut h2, mut target_h2) = (Vec::new(), None, false, false);
        let mut words = words;
        while let Some(word) = words.next() {
            match &*word {
                "--tls" => tls = Some((words.next()?, words.next()?)),
                "--h2" => h2 = true,
                "--target-h2" => target_h2 = true,
                port => ports.push(port.parse().ok()?),
            }
        }
        let [listen, threads, targets @ ..] = &*ports else {
            return None;
        };
        let targets = targets.iter().map(|&port| ([127, 0, 0, 1], port).into());
        Some(Self {
            listen: *listen,
            threads: usize::from(*threads),
            targets: targets.collect(),
            tls,
            h2,
            target_h2,
        })
        .filter(|asked| !asked.targets.is_empty() && asked.threads > 0)
    }
}

/// The proxy.
struct Peer {
    targets: Arc<LoadBalancer<RoundRobin>>,
    target_h2: bool,
    port: String,
    scheme: &'static str,
}

#[async_trait]
impl ProxyHttp for Peer {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let Some(target) = self.targets.select(b"", 16) else {
            return Err(pingora::Error::new(pingora::ErrorType::ConnectNoRoute));
        };
        let mut peer = HttpPeer::new(target.addr, false, String::new());
        if self.target_h2 {
            peer.options.set_http_version(2, 2);
        }
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> pingora::Result<()> {
        if let Some(client) = session.client_addr().and_then(|addr| addr.as_inet()) {
            request.append_header("X-Forwarded-For", client.ip().to_string())?;
        }
        request.insert_header("X-Forwarded-Proto", self.scheme)?;
        request.insert_header("X-Forwarded-Port", &self.port)?;
        Ok(())
    }
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--version") {
        println!("pingora {}", env!("PINGORA_VERSION"));
        return ExitCode::SUCCESS;
    }
    let Some(asked) = Asked::read(std::env::args().skip(1)) else {
        eprintln!(
            "usage: pingora-peer LISTEN THREADS TARGET… [--tls CERT KEY] [--h2] [--target-h2]"
        );
        return ExitCode::FAILURE;
    };
    match serve(asked) {
        Ok(never) => never,
        Err(error) => {
            eprintln!("pingora-peer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(asked: Asked) -> pingora::Result<ExitCode> {
    let conf = ServerConf {
        threads: asked.threads,
        upstream_keepalive_pool_size: 512,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let mut targets = LoadBalancer::<RoundRobin>::try_from_iter(asked.targets)
        .expect("addresses need no resolution");
    if asked.target_h2 {
        targets.set_health_check(TcpHealthCheck::new());
    } else {
        let mut check = HttpHealthCheck::new("127.0.0.1", false);
        check.req.set_uri("/health".parse().expect("a path"));
        targets.set_health_check(Box::new(check));
    }
    targets.health_check_frequency = Some(Duration::from_secs(5));
    let health = background_service("health", targets);

    let peer = Peer {
        targets: health.task(),
        target_h2: asked.target_h2,
        port: asked.listen.to_string(),
        scheme: if asked.tls.is_some() { "https" } else { "http" },
    };
    let mut proxy = http_proxy_service(&server.configuration, peer);
    let address = format!("127.0.0.1:{}", asked.listen);
    match asked.tls {
        Some((cert, key)) => {
            let mut tls = TlsSettings::intermediate(&cert, &key)?;
            if asked.h2 {
                tls.enable_h2();
            }
            proxy.add_tls_with_settings(&address, None, tls);
        }
        None => proxy.add_tcp(&address),
    }
    if let Some(logic) = proxy.app_logic_mut() {
        let mut options = HttpServerOptions::default();
        options.h2c = asked.h2;
        logic.server_options = Some(options);
    }
    server.add_service(health);
    server.add_service(proxy);
    server.run_forever()
}
