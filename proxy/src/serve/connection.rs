//! One client connection from its beginning to its end: the PROXY header, TLS, and requests in turn.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::client::{Agreed, Client, DRAIN_IDLE, End, Phase, Speaks};
use super::desks::{self, Desks};
use super::farewell::{LINGER, LINGER_QUIET, sent};
use super::http2;
use super::proxied;
use super::worker::Counted;
use crate::control::ids::ListenerId;
use crate::control::snapshot::Listener;
use crate::http1::buffer::Buffer;
use crate::http1::stream::Stream;
use crate::http2::{Beginning, beginning};
use crate::observe::connection_log;
use crate::observe::ledger::Matched;
use crate::observe::outcome::Outcome;
use crate::request::answer::{Answer, Dress, Reason};
use crate::request::link::Link;
use crate::request::{self, Next};
use crate::tls::accept::{Accepted, accept};
use crate::tls::policy;

/// The same in all for a client whose connection there is no room for.
const SHED_LINGER: Duration = Duration::from_secs(1);

/// A connection that carries requests.
pub(super) struct Conversation {
    client: Client,
    link: Link,
    /// Last, as fields are dropped in their order: it counts until it is closed.
    counted: Counted,
}

impl Conversation {
    fn new(client: Client, stream: Stream, counted: Counted) -> Box<Self> {
        Box::new(Self {
            client,
            link: Link::new(stream),
            counted,
        })
    }

    /// Its parts, without the box.
    fn into_parts(self: Box<Self>) -> (Counted, Client, Stream, Buffer) {
        let Self {
            client,
            link,
            counted,
            ..
        } = *self;
        (counted, client, link.wire.stream, link.wire.input)
    }

    pub(super) fn desks(&self) -> &Desks {
        &self.client.worker.desks
    }
}

/// Serves one connection to its end. `begin`: see [`begin`].
///
/// This is what every idle connection holds, so all else is in boxes that are there while they are
/// needed.
pub(super) async fn serve(begin: Pin<Box<impl Future<Output = Option<Box<Conversation>>>>>) {
    let Some(mut conversation) = begin.await else {
        return;
    };
    let last = loop {
        if conversation.client.speaks.get() == Speaks::Http2 {
            return Box::pin(streams(conversation)).await;
        }
        let Conversation { client, link, .. } = &mut *conversation;
        if client.read_head(link).await.is_err() {
            break Next::Close;
        }
        let next;
        (conversation, next) = desks::work(conversation).await;
        match next {
            Next::Request => {}
            Next::Http2 => conversation.client.speaks.set(Speaks::Http2),
            last => break last,
        }
    };
    let Conversation { client, link, .. } = &mut *conversation;
    client.worker.buffers.forget(&mut link.wire.input);
    if client.worker.is_draining() && last != Next::Reset {
        // Who is the last one ends the process.
        Box::pin(sent(|| link.wire.stream.is_sent())).await;
    }
    match last {
        Next::Linger => Box::pin(linger(client, link)).await,
        Next::Reset => {
            // A plain close would look like the end of the response.
            if let Err(error) = link.wire.stream.reset_on_drop() {
                tracing::debug!(%error, peer = %client.peer, "a connection could not be reset");
            }
        }
        Next::More | Next::Request | Next::Close | Next::Http2 => {}
    }
}

/// What a connection begins with: the PROXY header, a place among others, TLS. None if it ends with
/// that. `agreed` is the listener as it was when the connection was accepted: a reload may take it
/// away meanwhile, and with it the word that it has TLS.
pub(super) async fn begin(
    mut counted: Counted,
    listener: ListenerId,
    agreed: Arc<Listener>,
    mut stream: TcpStream,
    mut peer: SocketAddr,
) -> Option<Box<Conversation>> {
    let worker = Rc::clone(counted.worker());
    // Both fail only if the client is gone already.
    let mut local = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
        Ok(local) => local,
        Err(error) => {
            tracing::debug!(%error, %peer, "a new connection is gone");
            return None;
        }
    };
    // Before all else, also before TLS.
    if agreed.expects_proxy_header(peer.ip().to_canonical()) {
        match Box::pin(proxied::ends(&mut stream)).await {
            Ok(None) => {}
            Ok(Some(ends)) => (peer, local) = (ends.source, ends.destination),
            Err(error) => {
                worker.metrics.proxy_headers_refused.add(1);
                tracing::debug!(%error, %peer, "a connection without a PROXY header");
                return None;
            }
        }
    }
    let tls = agreed.tls.clone();
    drop(agreed);
    let (limits, http2) = {
        let snapshot = worker.shared.load();
        (snapshot.connections, snapshot.http2)
    };
    if let Err(reason) = counted.enter(limits, peer.ip()) {
        worker.metrics.connections_shed.add(1);
        connection_log::shed(&worker, listener, (peer, local), reason.name());
        let told = counted.worker().shared.crowd.tell();
        // A handshake to say no would cost more than what it saves.
        if tls.is_none() && told.is_some() {
            let client = Client::new(worker, listener, peer, local, None);
            // In a box, as what is below: all other connections would have room for it.
            Box::pin(shed(client, Stream::Plain(stream), reason)).await;
        }
        return None;
    }
    let Some(tls) = tls else {
        let client = Client::new(worker, listener, peer, local, None);
        connection_log::plain(&client);
        let stream = Stream::Plain(stream);
        if http2 {
            client.speaks.set(Speaks::Either);
        }
        return Some(Conversation::new(client, stream, counted));
    };
    // In a box, so that connections without TLS have no room for it.
    Box::pin(async move {
        let limit = worker.shared.load().limits.tls_handshake;
        let Accepted {
            stream,
            server_name,
            took,
        } = match accept(&worker, &tls, limit, stream).await {
            Ok(accepted) => accepted,
            Err(lost) => {
                connection_log::lost(&worker, listener, (peer, local), &lost);
                return None;
            }
        };
        let lines = tls.lines(stream.tls(), worker.shared.load().tls_headers);
        let verifies = tls.verifies();
        // From here on it is not needed, and its certificates may be replaced.
        drop(tls);
        let agreed = Agreed::new(stream.tls(), server_name);
        let mut client = Client::new(worker, listener, peer, local, Some(&lines));
        client.tls = Some(Rc::new(agreed));
        connection_log::secure(&client, stream.tls(), verifies, took);
        // RFC 9113 §3.2: inside of TLS, ALPN alone decides.
        if stream.tls().alpn_protocol() == Some(policy::H2) {
            client.speaks.set(Speaks::Http2);
        }
        let stream = Stream::Tls(Box::new(stream));
        Some(Conversation::new(client, stream, counted))
    })
    .await
}

/// Serves a connection with HTTP/2 to its end.
async fn streams(conversation: Box<Conversation>) {
    // The last to be dropped comes first.
    let (_counted, client, stream, input) = conversation.into_parts();
    http2::serve(&client, stream, input).await;
}

/// Tells a client that there is no room for its connection.
async fn shed(client: Client, stream: Stream, reason: Reason) {
    let mut link = Link::new(stream);
    refuse(&client, &mut link, reason).await;
    // Its request may be on its way, and what nobody reads resets the connection.
    let ended = tokio::time::timeout(SHED_LINGER, linger(&client, &mut link));
    // The time being over is an end like another.
    ended.await.unwrap_or_default();
}

/// Answers what is no whole request. The connection has to end then.
async fn refuse(client: &Client, link: &mut Link, reason: Reason) {
    let mut outcome = Outcome::new(client, link);
    let answer = Answer::error(reason);
    outcome.start(Matched::Nothing, None);
    outcome.note(|note| answer.note(note));
    outcome.respond_because(reason, reason.status().as_u16());
    let (server, policy) = client.dressing();
    let dress = Dress {
        to_head: false,
        is_grpc: false,
        connection: Some("close"),
        date: &client.worker.date(),
        server: server.as_deref(),
        edits: policy.as_ref().and_then(|policy| policy.response.as_ref()),
    };
    answer.write(&mut link.output, &dress);
    if client.flush(link).await {
        outcome.complete();
    }
    outcome.end(link);
}

/// Requests and responses in turn, while there are any: some of a first head has come. Tells what
/// comes next: with [`Next::Request`], nothing has come of another one.
pub(super) async fn requests(conversation: &mut Conversation) -> Next {
    let Conversation { client, link, .. } = conversation;
    loop {
        let begins = match client.speaks.get() {
            Speaks::Either => beginning(link.wire.input.data()),
            Speaks::Http1 | Speaks::Http2 => Beginning::Other,
        };
        match begins {
            Beginning::Http2 => return Next::Http2,
            Beginning::Unclear => {}
            Beginning::Other => {
                client.speaks.set(Speaks::Http1);
                link.lend(&client.worker.buffers);
                match request::handle(client, link).await {
                    Next::More => {}
                    Next::Request => {
                        link.give_back(&client.worker.buffers);
                        if link.skip_empty_lines() {
                            return Next::Request;
                        }
                    }
                    end => return end,
                }
            }
        }
        match client.read_head(link).await {
            Ok(()) => {}
            Err(End::Limit(Phase::Head)) => {
                refuse(client, link, Reason::RequestHeaderTimeout).await;
                return Next::Linger;
            }
            Err(End::Closed | End::Limit(_)) => return Next::Close,
        }
    }
}

/// Ends a connection whose client may still be sending. What it sends is read and dropped: bytes
/// that nobody reads make the kernel reset the connection, which can overtake the last response.
async fn linger(client: &Client, link: &mut Link) {
    // Whoever does not hear that the process ends should not keep it.
    let (all, quiet) = if client.worker.is_draining() {
        (DRAIN_IDLE, DRAIN_IDLE)
    } else {
        (LINGER, LINGER_QUIET)
    };
    let buffers = &client.worker.buffers;
    let ended = tokio::time::timeout(all, async {
        poll_fn(|cx| link.wire.stream.poll_shutdown(cx)).await?;
        loop {
            buffers.forget(&mut link.wire.input);
            let read = poll_fn(|cx| link.wire.poll_fill(buffers, usize::MAX, cx));
            match tokio::time::timeout(quiet, read).await {
                Ok(Ok(0)) | Err(_) => return Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    });
    let ended: Result<std::io::Result<()>, _> = ended.await;
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, peer = %client.peer, "a connection did not end well");
    }
    client.worker.buffers.forget(&mut link.wire.input);
}
