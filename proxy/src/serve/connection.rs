//! One client connection from its beginning to its end: the PROXY header, TLS, and requests in turn.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::client::{Agreed, Client, DRAIN_IDLE, End, Phase};
use super::http2;
use super::proxied;
use super::worker::{Counted, Worker};
use crate::control::ids::ListenerId;
use crate::http1::buffer::Buffer;
use crate::http1::stream::Stream;
use crate::http2::{Beginning, beginning};
use crate::observe::connection_log;
use crate::observe::ledger::Matched;
use crate::observe::outcome::Outcome;
use crate::request::answer::{Answer, Dress, Reason};
use crate::request::link::Link;
use crate::request::{self, Next};
use crate::tls::accept::accept;
use crate::tls::policy;

/// How long a connection that is to end waits for a client that may still be sending: in all, and
/// for its next byte.
const LINGER: Duration = Duration::from_secs(30);
const LINGER_QUIET: Duration = Duration::from_secs(5);

/// The same in all for a client whose connection there is no room for.
const SHED_LINGER: Duration = Duration::from_secs(1);

fn expects_proxy_header(worker: &Worker, listener: ListenerId, peer: SocketAddr) -> bool {
    let snapshot = worker.shared.load();
    snapshot
        .listener(listener)
        .is_some_and(|listener| listener.expects_proxy_header(peer.ip().to_canonical()))
}

/// Serves one connection to its end.
pub(super) async fn serve(
    counted: Counted,
    listener: ListenerId,
    mut stream: TcpStream,
    mut peer: SocketAddr,
) {
    let worker = Rc::clone(counted.worker());
    // Both fail only if the client is gone already.
    let mut local = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
        Ok(local) => local,
        Err(error) => {
            tracing::debug!(%error, %peer, "a new connection is gone");
            return;
        }
    };
    // Before all else, also before TLS.
    if expects_proxy_header(&worker, listener, peer) {
        match Box::pin(proxied::ends(&mut stream)).await {
            Ok(None) => {}
            Ok(Some(ends)) => (peer, local) = (ends.source, ends.destination),
            Err(error) => {
                worker.metrics.proxy_headers_refused.add(1);
                tracing::debug!(%error, %peer, "a connection without a PROXY header");
                return;
            }
        }
    }
    let (tls, limits) = {
        let snapshot = worker.shared.load();
        let listener = snapshot.listener(listener);
        let tls = listener.and_then(|listener| listener.tls.clone());
        (tls, snapshot.connections)
    };
    // By way of what lives as long as this, and not of one more reference that workers share.
    let crowd = &counted.worker().shared.crowd;
    let _place = match crowd.enter(limits, || worker.open(), peer.ip()) {
        Ok(place) => place,
        Err(reason) => {
            worker.metrics.connections_shed.add(1);
            connection_log::shed(&worker, listener, (peer, local), reason.name());
            let told = crowd.tell();
            // A handshake to say no would cost more than what it saves.
            if tls.is_none() && told.is_some() {
                let client = Client::new(worker, listener, peer, local, None);
                // In a box, as what is below: all other connections would have room for it.
                Box::pin(shed(client, Stream::Plain(stream), reason)).await;
            }
            return;
        }
    };
    let Some(tls) = tls else {
        let http2 = worker.shared.load().http2;
        let client = Client::new(worker, listener, peer, local, None);
        connection_log::plain(&client);
        talk(&client, Stream::Plain(stream), http2).await;
        return;
    };
    // In a box, so that connections without TLS have no room for it.
    Box::pin(async move {
        let limit = worker.shared.load().limits.tls_handshake;
        let (stream, took) = match accept(&worker, &tls, limit, stream).await {
            Ok(accepted) => accepted,
            Err(lost) => {
                connection_log::lost(&worker, listener, (peer, local), &lost);
                return;
            }
        };
        let lines = tls.lines(stream.tls(), worker.shared.load().tls_headers);
        let verifies = tls.verifies();
        // From here on it is not needed, and its certificates may be replaced.
        drop(tls);
        let agreed = Agreed::new(stream.tls());
        let mut client = Client::new(worker, listener, peer, local, Some(&lines));
        client.tls = Some(Rc::new(agreed));
        connection_log::secure(&client, stream.tls(), verifies, took);
        // RFC 9113 §3.2: inside of TLS, ALPN alone decides.
        let http2 = stream.tls().alpn_protocol() == Some(policy::H2);
        let stream = Stream::Tls(Box::new(stream));
        if http2 {
            Box::pin(http2::serve(&client, stream, Buffer::default())).await;
        } else {
            talk(&client, stream, false).await;
        }
    })
    .await;
}

/// Tells a client that there is no room for its connection.
async fn shed(client: Client, stream: Stream, reason: Reason) {
    let mut link = Link::new(stream);
    refuse(&client, &mut link, reason).await;
    // Its request may be on its way, and what nobody reads resets the connection.
    let ended = tokio::time::timeout(SHED_LINGER, linger(&client, link));
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

/// Serves what comes on a stream that carries HTTP/1.1, to its end. `http2`: the client may begin
/// with HTTP/2 instead.
async fn talk(client: &Client, stream: Stream, http2: bool) {
    let mut link = Link::new(stream);
    let last = converse(client, &mut link, http2).await;
    if last == Next::Http2 {
        // In a box: most connections on a listener without TLS carry HTTP/1.1.
        let served = http2::serve(client, link.wire.stream, link.wire.input);
        return Box::pin(served).await;
    }
    client.worker.buffers.forget(&mut link.wire.input);
    match last {
        Next::Linger => linger(client, link).await,
        Next::Reset => {
            // A plain close would look like the end of the response.
            if let Err(error) = link.wire.stream.reset_on_drop() {
                tracing::debug!(%error, peer = %client.peer, "a connection could not be reset");
            }
        }
        Next::More | Next::Request | Next::Close | Next::Http2 => {}
    }
}

/// Requests and responses in turn. Tells how the connection is to end.
async fn converse(client: &Client, link: &mut Link, http2: bool) -> Next {
    let mut first = http2;
    loop {
        match client.read_head(link).await {
            Ok(()) => {}
            Err(End::Limit(Phase::Head)) => {
                refuse(client, link, Reason::RequestHeaderTimeout).await;
                return Next::Linger;
            }
            Err(End::Closed | End::Limit(_)) => return Next::Close,
        }
        if first {
            match beginning(link.wire.input.data()) {
                Beginning::Http2 => return Next::Http2,
                Beginning::Unclear => continue,
                Beginning::Other => first = false,
            }
        }
        link.lend(&client.worker.buffers);
        // In no box, though connections that wait have room for it then: that would cost each request
        // some 350 instructions of 13,200, and save a waiting connection 1 KB of 3.
        match request::handle(client, link).await {
            Next::More => {}
            Next::Request => link.give_back(&client.worker.buffers),
            end => return end,
        }
    }
}

/// Ends a connection whose client may still be sending. What it sends is read and dropped: bytes
/// that nobody reads make the kernel reset the connection, which can overtake the last response.
async fn linger(client: &Client, mut link: Link) {
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
