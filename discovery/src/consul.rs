//! Targets from Consul: one task for each group, which asks the health API and waits with it for
//! changes (a blocking query). What an answer says is decided by [`answer`], without IO.

mod answer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, HOST};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use longshore_config::{ConsulDiscovery, Secret};
use rand::Rng;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use crate::backoff;
use crate::clock::now;
use crate::target::Update;
use answer::{Answer, Reply};

/// The largest answer that is read: 1.6 KB for each of the instances that are taken at the most.
const BODY_BYTES: usize = 16 * 1024 * 1024;

/// How long connecting may take. Agents are near.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long an answer may take that need not wait for a change, and how much longer than it should
/// one may take that does.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// From an answer to the next query. A service that changes all the time must not be asked all the
/// time.
const SPACING: Duration = Duration::from_millis(500);

/// The wait after the first failure, and the longest one.
const FAILURE_DELAY: Duration = Duration::from_secs(1);
const FAILURE_CAP: Duration = Duration::from_secs(30);

/// Asks for the instances of a service until the receiver is gone.
///
/// `look_now` asks for an answer before there is a change: somebody lost connections to a target
/// and wants to know whether it is still there.
pub async fn run(
    spec: ConsulDiscovery,
    out: mpsc::Sender<Update>,
    look_now: Arc<Notify>,
    mut rng: impl Rng,
) {
    // The version that is known. None: answer at once, whichever it is.
    let mut known: Option<u64> = None;
    let mut failures: u32 = 0;
    loop {
        let asked = tokio::time::timeout(limit(&spec, known), ask(&spec, known, now()));
        let looked = tokio::select! {
            looked = asked => looked,
            () = look_now.notified(), if known.is_some() => {
                known = None;
                continue;
            }
        };
        let at = now();
        let (update, wait) = match looked {
            Ok(Ok(answer)) => {
                failures = 0;
                let wait = backoff::jittered(SPACING, &mut rng);
                if known.is_some_and(|known| answer.index < known) {
                    // Older than what is known, or Consul was set up anew. Asked without a
                    // version, it tells which.
                    known = None;
                    tokio::time::sleep(wait).await;
                    continue;
                }
                // A query that names version 0 would not wait.
                known = Some(answer.index.max(1));
                let update = Update::Set {
                    targets: answer.targets,
                    problems: answer.problems,
                    at,
                };
                (update, wait)
            }
            failed => {
                known = None;
                failures = failures.saturating_add(1);
                let error = match failed {
                    Ok(Err(error)) => error,
                    _ => "no answer in time".to_owned(),
                };
                let error = format!("{}: {error}", spec.address);
                let wait = backoff::delay(FAILURE_DELAY, FAILURE_CAP, failures, &mut rng);
                (Update::Failed { error, at }, wait)
            }
        };
        if out.send(update).await.is_err() {
            return;
        }
        // Nobody shortens this wait: after failures Consul is given its rest, and otherwise it is
        // short.
        tokio::time::sleep(wait).await;
    }
}

/// How long a query may take. Consul adds up to a sixteenth to the wait, so that not all waits end
/// at once.
fn limit(spec: &ConsulDiscovery, known: Option<u64>) -> Duration {
    match known {
        Some(_) => spec.wait.get() + spec.wait.get() / 16 + ANSWER_LIMIT,
        None => ANSWER_LIMIT,
    }
}

/// One query, on a connection of its own. With `known` it waits for a newer version.
async fn ask(
    spec: &ConsulDiscovery,
    known: Option<u64>,
    asked_at: Instant,
) -> Result<Answer, String> {
    let connecting = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(spec.address)).await;
    let stream = connecting
        .map_err(|_| format!("no connection within {} s", CONNECT_LIMIT.as_secs()))?
        .map_err(|error| format!("no connection: {error}"))?;
    let failed = |error: hyper::Error| format!("the exchange failed: {error}");
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let mut request = Request::builder()
        .uri(uri(spec, known))
        .header(HOST, spec.address.to_string())
        .header(CONNECTION, "close");
    if let Some(token) = spec.token.as_ref().map(Secret::reveal) {
        request = request.header("x-consul-token", token);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("no query can be made: {error}"))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let reply = Reply {
            status: head.status.as_u16(),
            index: field("x-consul-index").map(ToOwned::to_owned),
            filtered: field("x-consul-results-filtered-by-acls") == Some("true"),
            body: Limited::new(body, BODY_BYTES)
                .collect()
                .await
                .map_err(|error| format!("the answer is cut short or too large: {error}"))?
                .to_bytes(),
        };
        Ok::<Reply, String>(reply)
    };
    // What was read by the end of the connection is still to be judged; see the health checks.
    let driven = async {
        let ended = driver.await;
        tracing::trace!(?ended, "the connection of a query ended");
        std::future::pending::<()>().await;
    };
    let reply = tokio::select! {
        biased;
        reply = exchange => reply?,
        () = driven => return Err("the connection ended".to_owned()),
    };
    // A large answer takes a while to parse, and other tasks share this thread.
    let service = spec.service.clone();
    tokio::task::spawn_blocking(move || answer::read(&service, &reply, asked_at))
        .await
        .map_err(|error| format!("the answer was not judged: {error}"))?
}

fn uri(spec: &ConsulDiscovery, known: Option<u64>) -> String {
    let mut uri = format!("/v1/health/service/{}?passing=1", encoded(&spec.service));
    for (key, value) in [("tag", &spec.tag), ("dc", &spec.datacenter)] {
        if let Some(value) = value {
            uri += &format!("&{key}={}", encoded(value));
        }
    }
    if let Some(known) = known {
        uri += &format!("&index={known}&wait={}ms", spec.wait.get().as_millis());
    }
    uri
}

/// Percent-encoded but for the characters that RFC 3986 section 2.3 calls unreserved.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand::SeedableRng as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{Notify, mpsc};

    use super::{Update, encoded, limit, run, uri};

    fn spec(text: &str) -> longshore_config::ConsulDiscovery {
        let text = format!(
            "listeners: [{{name: w, port: 80, default_action: [{{type: forward, target_group: a}}]}}]\n\
             target_groups: [{{name: a, discovery: {{consul: {{service: {text}}}}}}}]\n"
        );
        let mut config = longshore_config::parse("t", &text, &|_| None).expect("valid");
        let group = config.target_groups.remove(0);
        let discovery = group.discovery.expect("there");
        discovery.consul.expect("there")
    }

    #[test]
    fn what_a_name_holds_cannot_change_the_query() {
        let spec = spec("'web/../x?y', tag: 'a&b=c', datacenter: 'd ü', wait: 1500ms");
        assert_eq!(
            uri(&spec, Some(9)),
            "/v1/health/service/web%2F..%2Fx%3Fy?passing=1&tag=a%26b%3Dc&dc=d%20%C3%BC&index=9&wait=1500ms"
        );
        assert_eq!(encoded("aZ09-._~"), "aZ09-._~");
    }

    #[test]
    fn a_query_that_waits_may_take_longer_than_its_wait() {
        let spec = spec("web");
        assert_eq!(uri(&spec, None), "/v1/health/service/web?passing=1");
        assert_eq!(limit(&spec, None).as_secs(), 10);
        assert!(limit(&spec, Some(1)) > spec.wait.get() + spec.wait.get() / 16);
    }

    /// The next query, and the connection on which it came.
    async fn query(listener: &TcpListener) -> (String, TcpStream) {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a whole head"));
        }
        let head = String::from_utf8(head).expect("a text");
        (head.lines().next().expect("a line").to_owned(), stream)
    }

    async fn answer(mut stream: TcpStream) {
        let text = "HTTP/1.1 200 OK\r\nX-Consul-Index: 5\r\nContent-Length: 2\r\n\r\n[]";
        stream.write_all(text.as_bytes()).await.expect("written");
    }

    #[tokio::test]
    async fn a_wish_for_a_look_ends_the_wait_for_a_change() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mut spec = spec("web, wait: 600s");
        spec.address = listener.local_addr().expect("bound");
        let (out, mut updates) = mpsc::channel(1);
        let look_now = Arc::new(Notify::new());
        let rng = rand::rngs::SmallRng::seed_from_u64(1);
        let source = tokio::spawn(run(spec, out, Arc::clone(&look_now), rng));

        let (line, stream) = query(&listener).await;
        assert!(!line.contains("index"), "{line}");
        answer(stream).await;
        assert!(matches!(updates.recv().await, Some(Update::Set { .. })));

        let (line, waits) = query(&listener).await;
        assert!(line.contains("&index=5&wait=600000ms"), "{line}");
        look_now.notify_one();
        let (line, stream) = query(&listener).await;
        assert!(!line.contains("index"), "{line}");
        answer(stream).await;
        assert!(matches!(updates.recv().await, Some(Update::Set { .. })));
        drop(waits);

        // And it ends when nobody listens.
        drop(updates);
        let (_, stream) = query(&listener).await;
        answer(stream).await;
        source.await.expect("ended");
    }
}
