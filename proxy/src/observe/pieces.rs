//! A long answer, made and given away piece by piece: a scrape of ten thousand targets is 18 MB. No
//! piece is made before the one before it was taken, so little of it is in memory at a time, and
//! whoever shares the processor or the thread has a turn between two of them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// How much is made and written at a time: a few hundred microseconds of work.
pub(super) const PIECE: usize = 256 * 1024;

/// The pause after each. A low priority alone does not keep others from waiting: a scheduler lets a
/// thread that runs go on for some milliseconds before it looks. Ten thousand targets have 70
/// pieces. On a busy machine each pause takes half a millisecond, so with pieces of a quarter of
/// that size their scrape took longer than a tenth of a second. The thread sleeps, as timers of the
/// runtime know only milliseconds; whoever else asks this server waits as long.
const PAUSE: Duration = Duration::from_micros(150);

/// The answer, as far as it was not given away yet.
#[derive(Debug)]
pub(crate) struct Pieces<M> {
    /// What is there of it.
    text: Bytes,
    /// Makes more of it; nothing at the end.
    more: M,
    /// A piece was given away, and others may have their turn.
    gave: bool,
}

impl<M: FnMut() -> Vec<u8>> Pieces<M> {
    /// A text, and what comes behind it.
    pub(crate) fn new(text: impl Into<Bytes>, more: M) -> Self {
        Self {
            text: text.into(),
            more,
            gave: false,
        }
    }
}

impl<M: FnMut() -> Vec<u8> + Unpin> Body for Pieces<M> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if std::mem::replace(&mut self.gave, false) {
            std::thread::sleep(PAUSE);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.text.is_empty() {
            self.text = (self.more)().into();
        }
        if self.text.is_empty() {
            return Poll::Ready(None);
        }
        self.gave = true;
        let length = self.text.len().min(PIECE);
        let piece = self.text.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        // There may be more.
        SizeHint::default()
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
        let mut left = vec![b"last".to_vec(), vec![b'x'; PIECE]];
        let mut pieces = Pieces::new(text.clone(), move || left.pop().unwrap_or_default());
        assert_eq!(pieces.size_hint().exact(), None);
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
        let expected = [&text[..], &[b'x'; PIECE], b"last"].concat();
        assert!(got == expected);
        assert_eq!(lengths, [PIECE, 0, PIECE, 0, 7, 0, PIECE, 0, 4, 0]);
    }
}
