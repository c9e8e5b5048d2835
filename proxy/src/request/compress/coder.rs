//! Compressors, and how many of them a worker may have at once.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::rc::Rc;

use flate2::write::GzEncoder;

use super::Coding;

/// The most responses that a worker compresses at once. Each costs 0.3 MiB (gzip) to about 2 MiB;
/// others go out as they are.
const CODERS_MAX: usize = 64;

/// How far back a compressor looks, as a power of two: 256 KiB. Larger windows cost memory for each
/// response, and most are smaller.
const WINDOW_LOG: u32 = 18;

/// A worker's compressors at work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coders(Rc<Cell<usize>>);

/// One of them; it is given back when dropped.
#[derive(Debug)]
struct Turn(Rc<Cell<usize>>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Coders {
    /// A compressor. None if too many are at work, or there is no memory for it.
    pub(crate) fn make(&self, coding: Coding, level: u32) -> Option<Box<Coder>> {
        if self.0.get() >= CODERS_MAX {
            return None;
        }
        let into = Vec::new();
        let inner = match coding {
            Coding::Gzip => {
                Inner::Gzip(GzEncoder::new(into, flate2::Compression::new(level.min(9))))
            }
            Coding::Brotli => Inner::Brotli(Box::new(brotli::CompressorWriter::new(
                into, 4096, level, WINDOW_LOG,
            ))),
            Coding::Zstd => {
                let level = i32::try_from(level).unwrap_or(1);
                let mut encoder = zstd::stream::write::Encoder::new(into, level).ok()?;
                encoder.window_log(WINDOW_LOG).ok()?;
                Inner::Zstd(encoder)
            }
        };
        self.0.set(self.0.get() + 1);
        Some(Box::new(Coder {
            inner,
            held: false,
            _turn: Turn(Rc::clone(&self.0)),
        }))
    }
}

enum Inner {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

/// A compressor of one response.
pub(crate) struct Coder {
    inner: Inner,
    /// Something was taken in that may not have come out.
    held: bool,
    _turn: Turn,
}

impl Coder {
    /// Takes something in.
    pub(crate) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.held = true;
        match &mut self.inner {
            Inner::Gzip(coder) => coder.write_all(content),
            Inner::Brotli(coder) => coder.write_all(content),
            Inner::Zstd(coder) => coder.write_all(content),
        }
    }

    /// Lets out all that was taken in, so that a client can read it. False if there is nothing.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        if !std::mem::take(&mut self.held) {
            return Ok(false);
        }
        match &mut self.inner {
            Inner::Gzip(coder) => coder.flush()?,
            Inner::Brotli(coder) => coder.flush()?,
            Inner::Zstd(coder) => coder.flush()?,
        }
        Ok(true)
    }

    /// What has come out; to be taken out of it.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        match &mut self.inner {
            Inner::Gzip(coder) => coder.get_mut(),
            Inner::Brotli(coder) => coder.get_mut(),
            Inner::Zstd(coder) => coder.get_mut(),
        }
    }

    /// The last that comes out.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self.inner {
            Inner::Gzip(coder) => coder.finish(),
            Inner::Brotli(coder) => Ok(coder.into_inner()),
            Inner::Zstd(coder) => coder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::{CODERS_MAX, Coder, Coders, Coding};

    fn undo(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        // What was flushed is to be read, though the end is not there.
        let read = match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes)
                .expect("a decoder")
                .read_to_end(&mut out),
        };
        drop(read);
        out
    }

    #[test]
    fn what_was_flushed_can_be_read_and_the_whole_is_what_went_in() {
        for coding in Coding::ALL {
            for level in [1, 4, 9] {
                let mut coder = Coders::default().make(coding, level).expect("one");
                let mut out = Vec::new();
                let take = |coder: &mut Coder, out: &mut Vec<u8>| out.append(coder.output());
                assert!(!coder.flush().expect("flushed"), "nothing is held");
                let mut whole = Vec::new();
                for number in 0..50 {
                    let text = format!("event {number}: {}\n", "x".repeat(number * 40));
                    coder.write(text.as_bytes()).expect("taken");
                    whole.extend_from_slice(text.as_bytes());
                    take(&mut coder, &mut out);
                    assert!(coder.flush().expect("flushed"));
                    assert!(!coder.flush().expect("flushed"), "once");
                    take(&mut coder, &mut out);
                    assert_eq!(undo(coding, &out), whole, "{coding:?} {level}");
                }
                out.extend(coder.finish().expect("finished"));
                assert_eq!(undo(coding, &out), whole);
                assert!(out.len() < whole.len() / 3);
            }
        }
    }

    #[test]
    fn there_is_a_bound_and_whoever_ends_makes_room() {
        let coders = Coders::default();
        let mut all: Vec<_> = (0..CODERS_MAX)
            .map(|_| coders.make(Coding::Gzip, 1).expect("one"))
            .collect();
        assert!(coders.make(Coding::Gzip, 1).is_none());
        drop(all.pop());
        assert!(coders.make(Coding::Zstd, 1).is_some());
    }
}
