//! A stream to a target, which takes and gives bytes like a connection that carries one HTTP/1.1
//! request and its response.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::Response;
use http::header::CONTENT_LENGTH;
use tokio::io::ReadBuf;

use super::flow::{Carries, Receiver, Sender, gone};
use super::head::{push_response, request};
use super::staged::Staged;
use crate::http1::field;
use crate::http1::head::{RequestHead, room};

/// One request to a target.
pub(crate) struct Outbound {
    /// Until the head of the request is there.
    begins: Option<SendRequest<Bytes>>,
    /// Inside of TLS.
    secure: bool,
    carrier: Rc<dyn Carries>,
    to_head: bool,
    /// Until the head of the response is there.
    response: Option<ResponseFuture>,
    /// Of the request.
    sender: Option<Sender>,
    /// The interim response that is read next.
    interim: Staged,
    /// Of the response.
    receiver: Option<Receiver>,
    /// Ends with it: its place on the connection.
    _place: Box<dyn std::any::Any>,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}

impl Outbound {
    /// A stream that is opened with the head of its request. `place` is dropped with it.
    pub(crate) fn new(
        connection: SendRequest<Bytes>,
        secure: bool,
        carrier: Rc<dyn Carries>,
        place: Box<dyn std::any::Any>,
    ) -> Self {
        Self {
            begins: Some(connection),
            secure,
            carrier,
            to_head: false,
            response: None,
            sender: None,
            interim: Staged::default(),
            receiver: None,
            _place: place,
        }
    }

    /// Reads what is there of the response. Nothing read means that it is over.
    pub(crate) fn poll_read(
        &mut self,
        room: &mut ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.interim.give(room) {
                return Poll::Ready(Ok(()));
            }
            if let Some(receiver) = &mut self.receiver {
                return receiver.poll_read(room, cx).map_err(gone);
            }
            let Some(response) = &mut self.response else {
                // The request could not be sent.
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                let interim = interim.map_err(gone)?;
                let (status, fields) = (interim.status(), interim.headers());
                self.interim
                    .write(|out| push_response(out, status, fields, true, self.to_head))
                    .map_err(io::Error::other)?;
                continue;
            }
            let response = std::task::ready!(Pin::new(response).poll(cx)).map_err(gone)?;
            self.receiver = Some(self.begin(response)?);
            self.response = None;
        }
    }

    /// See [`Receiver::gather`].
    pub(crate) fn gather(&mut self, cx: &mut Context<'_>) {
        if let Some(receiver) = &mut self.receiver {
            receiver.gather(cx);
        }
    }

    fn begin(&mut self, response: Response<RecvStream>) -> io::Result<Receiver> {
        let (parts, body) = response.into_parts();
        let mut head = self.interim.take();
        let ended = body.is_end_stream();
        let framing = push_response(&mut head, parts.status, &parts.headers, ended, self.to_head)
            .map_err(io::Error::other)?;
        let length = parts.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| field::length(length.as_bytes()));
        Ok(Receiver::new(body, head, framing, length))
    }

    /// Takes of the first bytes, then of the second.
    pub(crate) fn poll_write(
        &mut self,
        first: &[u8],
        second: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut used = 0;
        if let Some(connection) = self.begins.take() {
            // A head is written whole, and always first.
            used = self.head(connection, first)?;
        }
        for (index, part) in [&first[used..], second].into_iter().enumerate() {
            let Some(sender) = &mut self.sender else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            if part.is_empty() {
                continue;
            }
            match sender.poll_write(part, cx) {
                Poll::Ready(Ok(count)) => {
                    used += count;
                    if count < part.len() || index == 1 {
                        return Poll::Ready(Ok(used));
                    }
                }
                // What was taken counts; the error comes again.
                Poll::Ready(Err(_)) | Poll::Pending if used > 0 => return Poll::Ready(Ok(used)),
                other => return other,
            }
        }
        Poll::Ready(Ok(used))
    }

    /// Opens the stream with the head at the beginning of these bytes. Tells its length.
    fn head(&mut self, mut connection: SendRequest<Bytes>, bytes: &[u8]) -> io::Result<usize> {
        let mut room = room();
        let head = RequestHead::parse(bytes, &mut room).map_err(io::Error::other)?;
        let head = head.ok_or_else(|| io::Error::other("a head in pieces"))?;
        let (request, content) = request(&head, bytes, self.secure).map_err(io::Error::other)?;
        self.to_head = head.method == "HEAD";
        let ended = content == super::head::Content::Length(0);
        let (response, stream) = connection.send_request(request, ended).map_err(gone)?;
        self.response = Some(response);
        self.sender = Some(Sender::new(
            stream,
            content,
            ended,
            Rc::clone(&self.carrier),
        ));
        Ok(head.len)
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        let Some(mut stream) = self.sender.take() else {
            return;
        };
        let whole = stream.is_over() && self.receiver.as_ref().is_some_and(Receiver::is_whole);
        match self.receiver.take().filter(|_| whole) {
            Some(receiver) if receiver.has_ended() => {}
            // Some targets say so in a frame of its own, a moment later. To reset the stream for that
            // would tell them that their response was for nothing.
            Some(receiver) => self
                .carrier
                .rests(receiver.into_stream(), stream.into_stream()),
            // Nobody waits for the rest. The library says nothing if the target has ended it.
            None => stream.stream().send_reset(Reason::CANCEL),
        }
    }
}

/// Whether a target says that it has done nothing of a request (RFC 9113 §8.7): it refused the
/// stream, or its GOAWAY names an earlier one as the last.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    inner.is_some_and(|error: &h2::Error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
    })
}

/// Whether the target has ended this one stream, and not its connection.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    inner.is_some_and(|error: &h2::Error| error.is_reset())
}

/// What the client of a request is told when its target has reset the stream.
pub(crate) fn passed_on(error: &io::Error) -> Option<Reason> {
    let inner: &h2::Error = error.get_ref()?.downcast_ref()?;
    match inner.reason()? {
        reason @ (Reason::CANCEL | Reason::ENHANCE_YOUR_CALM) if inner.is_remote() => Some(reason),
        _ => None,
    }
}
