//! A long answer, given away piece by piece, so that whoever shares the thread has a turn between
//! two of them: a scrape of ten thousand targets is 20 MB, and the control task goes on meanwhile.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// What is written at a time: some tens of microseconds of copying.
const PIECE: usize = 128 * 1024;

/// The answer, as far as it was not given away yet.
#[derive(Debug)]
pub(crate) struct Pieces {
    rest: Bytes,
    /// A piece was given away, and others may have their turn.
    gave: bool,
}

impl Pieces {
    pub(crate) fn new(text: impl Into<Bytes>) -> Self {
        Self {
            rest: text.into(),
            gave: false,
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if std::mem::replace(&mut self.gave, false) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.gave = true;
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use hyper::body::Body as _;

    use super::{PIECE, Pieces};

    #[test]
    fn all_of_it_comes_with_a_turn_for_others_between_two_pieces() {
        let text: Vec<u8> = (0..=255).cycle().take(2 * PIECE + 7).collect();
        let mut pieces = Pieces::new(text.clone());
        assert_eq!(pieces.size_hint().exact(), Some(text.len() as u64));
        let mut cx = Context::from_waker(Waker::noop());
        let (mut got, mut lengths) = (Vec::new(), Vec::new());
        loop {
            match Pin::new(&mut pieces).poll_frame(&mut cx) {
                Poll::Ready(None) => break,
                Poll::Ready(Some(frame)) => {
                    let piece = frame.expect("no error").into_data().expect("data");
                    lengths.push(piece.len());
                    got.extend_from_slice(&piece);
                }
                Poll::Pending => lengths.push(0),
            }
        }
        assert_eq!(got, text);
        assert_eq!(lengths, [PIECE, 0, PIECE, 0, 7]);
        assert!(pieces.is_end_stream());
    }
}
