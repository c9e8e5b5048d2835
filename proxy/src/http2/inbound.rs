//! A client's stream, which reads and writes like a connection that carries one HTTP/1.1 request
//! and its response.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use tokio::io::ReadBuf;

use super::flow::{Receiver, Sender, gone};
use super::head::{Content, Malformed, push_request, response};
use super::transport::Shared;
use super::watch::Sends;
use crate::http1::head::{ResponseHead, room};
use crate::request::admit::WEBSOCKET;

/// One request on a client's connection.
pub(crate) struct Inbound {
    receiver: Receiver,
    respond: SendResponse<Bytes>,
    /// Once the head of the response was sent.
    sender: Option<Sender>,
    to_head: bool,
    /// It asks for a WebSocket.
    websocket: bool,
    /// It is one: what comes and goes is no message of HTTP any more.
    switched: bool,
    /// What the client is told if the response does not become whole.
    ends_with: Reason,
    shared: Rc<Shared>,
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Inbound")
            .field(&self.respond.stream_id())
            .finish()
    }
}

impl Inbound {
    /// A request as it came. `storage` is for its head. `draw` makes the key of a WebSocket; nobody
    /// but the target looks at it, and no client can choose it.
    ///
    /// # Errors
    /// If it is malformed. The client is told by a reset.
    pub(crate) fn new(
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        mut storage: Vec<u8>,
        shared: Rc<Shared>,
        draw: impl FnOnce() -> [u8; 16],
    ) -> Result<Self, Malformed> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, ());
        let protocol = request.extensions().get::<Protocol>();
        let key = protocol
            .filter(|protocol| protocol.as_str() == WEBSOCKET)
            .map(|_| STANDARD.encode(draw()));
        match push_request(&mut storage, &request, body.is_end_stream(), key.as_deref()) {
            Ok(framing) => Ok(Self {
                receiver: Receiver::new(body, storage, framing),
                respond,
                sender: None,
                to_head: request.method() == Method::HEAD,
                websocket: key.is_some(),
                switched: false,
                ends_with: Reason::INTERNAL_ERROR,
                shared,
            }),
            Err(malformed) => {
                respond.send_reset(Reason::PROTOCOL_ERROR);
                Err(malformed)
            }
        }
    }

    /// The head of the request was read.
    pub(crate) fn has_given_head(&self) -> bool {
        self.receiver.has_given_head()
    }

    /// See [`Receiver::take_storage`].
    pub(crate) fn take_storage(&mut self) -> Vec<u8> {
        self.receiver.take_storage()
    }

    /// Ready when a client that has its whole response sends no more of its request.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sender {
            Some(sender) if sender.is_over() && !self.switched => self.receiver.poll_end(cx),
            _ => Poll::Ready(()),
        }
    }

    /// The client has reset it already.
    pub(crate) fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_gone(cx).is_ready()
    }

    /// See [`crate::http1::stream::Stream::end_with`].
    pub(crate) fn end_with(&mut self, reason: Reason) {
        self.ends_with = reason;
    }

    pub(crate) fn poll_read(
        &mut self,
        room: &mut ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.receiver.is_over() && !self.switched {
            return self.poll_gone(cx).map(Err);
        }
        let before = room.filled().len();
        let read = std::task::ready!(self.receiver.poll_read(room, cx));
        if room.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        match read {
            Ok(()) if self.switched => Poll::Ready(Ok(())),
            // Nothing would look like the end of the connection: the client may wait for long.
            Ok(()) => self.poll_gone(cx).map(Err),
            Err(error) => Poll::Ready(Err(gone(error))),
        }
    }

    /// Ready when the client has reset the stream, or its connection is gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let reset = match &mut self.sender {
            // All was said; nobody waits for the client.
            Some(sender) => sender.stream().poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|_| io::ErrorKind::ConnectionReset.into())
    }

    /// Takes of the first bytes, then of the second.
    pub(crate) fn poll_write(
        &mut self,
        first: &[u8],
        second: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut used = 0;
        while self.sender.is_none() && used < first.len() {
            used += self.head(&first[used..])?;
        }
        for (index, part) in [&first[used..], second].into_iter().enumerate() {
            // A head is written whole, and always first.
            let Some(sender) = &mut self.sender else {
                return Poll::Ready(Ok(used));
            };
            if part.is_empty() {
                continue;
            }
            match sender.poll_write(part, cx) {
                Poll::Ready(Ok(count)) => {
                    used += count;
                    if sender.is_over() {
                        self.shared.completed();
                    }
                    if count < part.len() || index == 1 {
                        return Poll::Ready(Ok(used));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if used == 0 => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(used)),
            }
        }
        Poll::Ready(Ok(used))
    }

    /// Sends the head at the beginning of these bytes. Tells its length.
    fn head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = room();
        let head = ResponseHead::parse(bytes, &mut room).map_err(io::Error::other)?;
        let head = head.ok_or_else(|| io::Error::other("a head in pieces"))?;
        let (response, content) = response(&head, bytes, self.to_head).map_err(io::Error::other)?;
        if head.status == 101 && self.websocket {
            return self.switch(response, head.len);
        }
        if head.status < 200 {
            self.respond.send_informational(response).map_err(gone)?;
            return Ok(head.len);
        }
        let ended = content == Content::Length(0);
        let stream = self.respond.send_response(response, ended).map_err(gone)?;
        if ended {
            self.shared.completed();
        }
        let budgets = Rc::clone(&self.shared) as Rc<dyn Sends>;
        self.sender = Some(Sender::new(stream, content, ended, budgets));
        Ok(head.len)
    }
}

impl Inbound {
    /// The target agreed to a WebSocket, which is said with 200 here (RFC 8441 §5). Whether it has
    /// understood the key is not looked at: it is asked because the operator named it.
    fn switch(&mut self, mut response: Response<()>, len: usize) -> io::Result<usize> {
        *response.status_mut() = StatusCode::OK;
        let fields = response.headers_mut();
        fields.remove(UPGRADE);
        fields.remove(SEC_WEBSOCKET_ACCEPT);
        let stream = self.respond.send_response(response, false).map_err(gone)?;
        let budgets = Rc::clone(&self.shared) as Rc<dyn Sends>;
        self.sender = Some(Sender::new(
            stream,
            Content::Length(u64::MAX),
            false,
            budgets,
        ));
        self.switched = true;
        self.ends_with = Reason::CANCEL;
        Ok(len)
    }

    /// Says that no more comes, where nothing else does.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match &mut self.sender {
            Some(sender) if self.switched && !sender.is_over() => {
                self.shared.completed();
                sender.finish()
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        // A response that was cut short must not look whole. What the client still sends of its
        // request after a whole one is refused by the library, without calling it an error (RFC
        // 9113 §8.1).
        match &mut self.sender {
            Some(sender) if sender.is_over() => {}
            Some(sender) => sender.stream().send_reset(self.ends_with),
            None => self.respond.send_reset(self.ends_with),
        }
    }
}
