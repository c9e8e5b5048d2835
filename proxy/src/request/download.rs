//! A response on its way from a target to the client.

use std::io;
use std::task::{Context, Poll};

use super::compress::coder::Coder;
use super::link::Link;
use crate::http1::body::Body;
use crate::http1::buffer::{Buffer, Buffers, LARGE};
use crate::http1::chunked::{BadChunk, Part, push, push_end};
use crate::http1::wire::{COPY_MAX, Wire};

/// How far a response body has come.
pub(crate) struct Download {
    body: Body,
    /// It goes to the client in chunks.
    chunked: bool,
    /// It ended with the target's connection.
    ended: bool,
    /// What compresses it; taken when all of it is compressed.
    coder: Option<Box<Coder>>,
}

/// Why a response stopped short.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    /// The client takes no more.
    #[error("the client: {0}")]
    Client(io::Error),
    /// The target ended it early.
    #[error("the target: {0}")]
    Target(io::Error),
    /// What the target sent is no body.
    #[error("the target: {0}")]
    Body(BadChunk),
    /// It could not be compressed.
    #[error("compression: {0}")]
    Coder(io::Error),
}

impl Download {
    pub(crate) fn new(body: Body, chunked: bool) -> Self {
        Self {
            body,
            chunked,
            ended: false,
            coder: None,
        }
    }

    /// The same, compressed on the way. It goes in chunks then.
    pub(crate) fn with_coder(self, coder: Option<Box<Coder>>) -> Self {
        debug_assert!(self.chunked || coder.is_none(), "its length is not known");
        Self { coder, ..self }
    }

    /// All of it was read, and is sent or waits in the link.
    pub(crate) fn is_read(&self) -> bool {
        self.coder.is_none() && (self.ended || self.body.is_done())
    }

    /// Something is at hand that the client does not take.
    pub(crate) fn waits_for_client(&self, link: &Link, input: usize) -> bool {
        link.is_pending() || (!self.chunked && self.body.plain(input) > 0)
    }

    /// Moves what can be moved. Ready when the client has all of it. `moved` is called when bytes
    /// have moved; `drops` tells which trailers do not go on.
    pub(crate) fn poll(
        &mut self,
        link: &mut Link,
        target: &mut Wire,
        buffers: &Buffers,
        moved: impl Fn(),
        drops: impl Fn(&str) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), DownloadError>> {
        loop {
            let plain = if self.chunked {
                0
            } else {
                self.body.plain(target.input.len())
            };
            if link.is_pending() || plain > 0 {
                if plain > 0 && plain <= COPY_MAX && link.is_pending() {
                    link.output.extend_from_slice(&target.input.data()[..plain]);
                    self.used(&mut target.input, plain);
                    continue;
                }
                let content = &target.input.data()[..plain];
                let count = std::task::ready!(link.poll_send(content, cx))
                    .map_err(DownloadError::Client)?;
                self.used(&mut target.input, count);
                moved();
                continue;
            }
            if self.is_read() {
                return Poll::Ready(Ok(()));
            }
            if self.encode(link, &mut target.input, &drops)? {
                continue;
            }
            let Poll::Ready(read) = target.poll_fill(buffers, self.body.wants(), cx) else {
                // The target has no more now. What came may be all for a while.
                if self.let_out(link)? {
                    continue;
                }
                return Poll::Pending;
            };
            match read.map_err(DownloadError::Target)? {
                0 if self.body == Body::UntilClose => {
                    self.ended = true;
                    if let Some(coder) = self.coder.take() {
                        finish(coder, &mut link.output)?;
                    }
                    if self.chunked {
                        push_end(&mut link.output, &[]);
                    }
                }
                0 => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(DownloadError::Target(error)));
                }
                _ => moved(),
            }
        }
    }

    fn used(&mut self, input: &mut Buffer, count: usize) {
        input.consume(count);
        self.body.advance(count);
    }

    /// Puts what came into the link, if it cannot go as it is. False if there is nothing.
    fn encode(
        &mut self,
        link: &mut Link,
        input: &mut Buffer,
        drops: impl Fn(&str) -> bool,
    ) -> Result<bool, DownloadError> {
        let output = &mut link.output;
        match &mut self.body {
            Body::Chunked(chunks) => {
                while output.len() < LARGE {
                    match chunks.next(input.data()).map_err(DownloadError::Body)? {
                        Part::Framing(count) => input.consume(count),
                        Part::Data(count) => {
                            let content = &input.data()[..count];
                            if let Some(coder) = &mut self.coder {
                                compress(coder, content, output)?;
                            } else if self.chunked {
                                push(output, content);
                            } else {
                                output.extend_from_slice(content);
                            }
                            input.consume(count);
                        }
                        Part::End => {
                            if let Some(coder) = self.coder.take() {
                                finish(coder, output)?;
                            }
                            if self.chunked {
                                chunks.strip(&drops);
                                push_end(output, chunks.trailers());
                            }
                            break;
                        }
                        Part::More => break,
                    }
                }
                Ok(!output.is_empty() || chunks.is_done())
            }
            Body::Length(_) | Body::UntilClose if self.coder.is_some() && !input.is_empty() => {
                let count = self.body.plain(input.len());
                if let Some(coder) = &mut self.coder {
                    compress(coder, &input.data()[..count], output)?;
                }
                self.used(input, count);
                if self.body.is_done()
                    && let Some(coder) = self.coder.take()
                {
                    finish(coder, &mut link.output)?;
                    push_end(&mut link.output, &[]);
                }
                Ok(true)
            }
            // A length can be stated for a part that is sent in chunks only if it is all there.
            Body::Length(_) | Body::UntilClose if !input.is_empty() => {
                push(output, input.data());
                input.consume(input.len());
                Ok(true)
            }
            Body::Length(_) | Body::UntilClose => Ok(false),
        }
    }

    /// Puts what the compressor holds back into the link, so that the client can read all that the
    /// target has sent. False if that is nothing.
    fn let_out(&mut self, link: &mut Link) -> Result<bool, DownloadError> {
        let Some(coder) = &mut self.coder else {
            return Ok(false);
        };
        if !coder.flush().map_err(DownloadError::Coder)? {
            return Ok(false);
        }
        put(coder.output(), &mut link.output);
        Ok(link.is_pending())
    }
}

/// Puts what comes out of a compressor into chunks.
fn compress(coder: &mut Coder, content: &[u8], output: &mut Vec<u8>) -> Result<(), DownloadError> {
    coder.write(content).map_err(DownloadError::Coder)?;
    put(coder.output(), output);
    Ok(())
}

fn finish(coder: Box<Coder>, output: &mut Vec<u8>) -> Result<(), DownloadError> {
    put(&mut coder.finish().map_err(DownloadError::Coder)?, output);
    Ok(())
}

/// Moves what is compressed behind what is to be sent, as a chunk.
fn put(compressed: &mut Vec<u8>, output: &mut Vec<u8>) {
    if !compressed.is_empty() {
        push(output, compressed);
        compressed.clear();
    }
}
