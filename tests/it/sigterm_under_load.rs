//! SIGTERM at any moment, under load. The clients do what their protocols say: no request on a
//! connection that is said to end, and again elsewhere what was not processed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longshore_tests::certificates::{Folder, Key};
use longshore_tests::http::{self, Stream};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::{secure, within};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// How often it is ended, unless `LONGSHORE_ROUNDS` says otherwise.
const ROUNDS: u64 = 12;

#[derive(Clone)]
struct Load {
    web: SocketAddr,
    tls: SocketAddr,
    done: Arc<AtomicUsize>,
}

impl Load {
    /// A connection. None when the listener is closed, which is how a client learns of it.
    async fn open(&self, secure: bool, protocols: &[&str]) -> Option<Box<dyn Stream>> {
        let address = if secure { self.tls } else { self.web };
        let stream = TcpStream::connect(address).await.ok()?;
        Some(match secure {
            true => Box::new(secure::over(stream, "one.test", protocols).await),
            false => Box::new(stream),
        })
    }

    fn well(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests on one connection until that is said to end, then on the next. `keeps`: false for
    /// a connection for each request.
    async fn in_turns(self, secure: bool, keeps: bool, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        while let Some(mut stream) = self.open(secure, &["http/1.1"]).await {
            loop {
                let request = match rng.random_range(0..3) {
                    0 => "POST / HTTP/1.1\r\nHost: one.test\r\nContent-Length: 2\r\n\r\nhi",
                    _ => "GET / HTTP/1.1\r\nHost: one.test\r\n\r\n",
                };
                let got = http::ask(&mut stream, request).await;
                let got = got.unwrap_or_else(|error| {
                    panic!("HTTP/1.1, secure {secure}, keeps {keeps}: {error}")
                });
                assert_eq!(got.status, 200, "secure {secure}, keeps {keeps}");
                self.well();
                if got.closes || !keeps {
                    break;
                }
                let pause = Duration::from_millis(rng.random_range(0..4));
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Streams over HTTP/2, some at a time.
    async fn in_streams(self, secure: bool) {
        while let Some(stream) = self.open(secure, &["h2"]).await {
            let (sender, driver) = http::over_http2(stream).await;
            'connection: loop {
                let asked: Vec<_> = (0..3)
                    .map(|_| http::get_over_http2(&sender, "http://one.test/"))
                    .collect();
                let mut over = false;
                for answer in asked {
                    match within("a response", answer).await {
                        Ok(status) => {
                            assert_eq!(status, 200, "secure {secure}");
                            self.well();
                        }
                        // RFC 9113 §6.8: what a GOAWAY leaves out was not processed. The library
                        // says the same when it sends nothing any more.
                        Err(error)
                            if error.is_go_away()
                                && error.reason() == Some(h2::Reason::NO_ERROR) =>
                        {
                            over = true
                        }
                        Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => {
                            over = true
                        }
                        Err(error) => panic!("HTTP/2, secure {secure}: {error} {error:?}"),
                    }
                }
                if over {
                    break 'connection;
                }
            }
            driver.abort();
        }
    }
}

async fn slow(seed: u64) -> Origin {
    let rng = Arc::new(std::sync::Mutex::new(SmallRng::seed_from_u64(seed)));
    Origin::raw(move |mut wire| {
        let rng = Arc::clone(&rng);
        async move {
            while read(&mut wire).await.is_some() {
                let pause = rng.lock().expect("not poisoned").random_range(0..30);
                // The target's own work.
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if wire.stream.write_all(&response(200, "ok")).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_at_any_moment_fails_no_request_of_clients_that_do_as_they_are_told() {
    let folder = Folder::default();
    folder.make("one", &["one.test"], Key::Ecdsa, 30);
    let (cert, key) = (folder.path("one.pem"), folder.path("one.key"));
    let rounds = std::env::var("LONGSHORE_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS, |text| text.parse().expect("a number"));
    for seed in 0..rounds {
        let mut rng = SmallRng::seed_from_u64(seed);
        let origin = slow(seed).await;
        let (web, tls) = (free_port(), free_port());
        let action = "default_action: [{type: forward, target_group: app}]";
        let file = TempFile::new(&format!(
            "runtime: {{workers: 2, drain_timeout: 20s}}
listeners:
  - {{name: web, address: '127.0.0.1:{web}', {action}}}
  - {{name: secure, address: '127.0.0.1:{tls}', protocol: HTTPS, certificates: [{{cert: {cert}, key: {key}}}], {action}}}
target_groups:
  - {{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}
",
            origin.address.port()
        ));
        let (mut process, web) = Process::run(&file);
        process.wait_for_line("listening secure");
        let load = Load {
            web,
            tls: ([127, 0, 0, 1], tls).into(),
            done: Arc::default(),
        };
        let mut clients = tokio::task::JoinSet::new();
        for secure in [false, true] {
            for keeps in [false, true, true] {
                clients.spawn(load.clone().in_turns(secure, keeps, rng.random()));
            }
            clients.spawn(load.clone().in_streams(secure));
        }
        clients.spawn(load.clone().in_turns(false, false, rng.random()));
        let moment = Duration::from_micros(rng.random_range(50_000..400_000));
        tokio::time::sleep(moment).await;
        process.signal("TERM");
        while let Some(client) = clients.join_next().await {
            client.unwrap_or_else(|error| panic!("seed {seed}, SIGTERM after {moment:?}: {error}"));
        }
        let done = load.done.load(Ordering::Relaxed);
        println!("seed {seed}: {done} requests, SIGTERM after {moment:?}");
        assert!(done > 0);
        assert!(process.wait().success(), "seed {seed}");
    }
}
