//! Frames of HTTP/2, and blocks of fields.

use longshore::http1::head::{RequestHead, room};
use longshore::http2::PREFACE;
use longshore::http2::engine::{Engine, Event, Lend, Reason};
use longshore::http2::hpack::{Decoder, field};

use crate::engine::{corpus, outcome, run};

struct Lender;

impl Lend for Lender {
    fn text(&self) -> Vec<u8> {
        Vec::new()
    }

    fn key(&self) -> String {
        "key".into()
    }
}

/// Frames: their type, flags and stream, with a length of 0.
const WORDS: &[&[u8]] = &[
    b"\0\0\0\0\x01\0\0\0\x01",
    b"\0\0\x05\0\0\0\0\0\x01hello",
    b"\0\0\x05\0\x01\0\0\0\x03hello",
    b"\0\0\x04\x01\x05\0\0\0\x01\x83\x86\x84\x41\x01a",
    b"\0\0\x06\x01\x05\0\0\0\x03\x82\x86\x84\x41\x01a",
    b"\0\0\x06\x01\x04\0\0\0\x05\x83\x86\x84\x41\x01a",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    b"\0\0\0\x04\0\0\0\0\0",
    b"\0\0\0\x04\x01\0\0\0\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0",
    b"\0\0\x08\x06\0\0\0\0\0longshor",
    b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\0\0\x04\x08\0\0\0\0\0\0\0\x01\0",
    b"\0\0\x04\x08\0\0\0\0\x01\0\0\x01\0",
    b"\0\0\0\x09\x04\0\0\0\x01",
    b"\x40\x01x\x01y",
    b"\x5c\x013",
    b"\x60\x03a=b",
    b"\x00\x0a:authority\x01b",
    b"\xbe",
    b"\x20",
];

/// What is kept of a connection is at most the windows that it was given.
const KEPT_MAX: usize = 1024 * 1024;

#[test]
fn frames() {
    let corpus = corpus(include_str!("corpus/frames.txt"));
    run("frames", 5_000, &corpus, WORDS, |input| {
        let bytes = [PREFACE, input].concat();
        let (mut engine, mut slow) = (Engine::new(8), Engine::new(8));
        let used = engine.receive(&bytes, &Lender);
        assert!(used <= bytes.len());
        let (mut start, mut end) = (0, 0);
        while end < bytes.len() {
            end += 1;
            start += slow.receive(&bytes[start..end], &Lender);
        }
        assert_eq!(engine.sending(), slow.sending(), "in pieces");
        let mut requests = Vec::new();
        while let Some(event) = engine.event() {
            if let Event::Request(opened) = event {
                is_one_head(opened.head());
                requests.push(opened.id);
            }
        }
        assert!(requests.is_sorted(), "{requests:?}");
        let kept: usize = requests
            .iter()
            .map(|id| {
                engine
                    .stream(*id)
                    .map_or(0, |stream| stream.content().len())
            })
            .sum();
        assert!(kept <= KEPT_MAX);
        for id in &requests {
            engine.respond(*id, 200, &[], false);
            let room = engine.room(*id);
            engine.content(*id, &vec![0; room.min(100)], true);
            engine.leave(*id, Reason::CANCEL);
            assert!(engine.stream(*id).is_none());
        }
        outcome((requests.len(), engine.is_over(), engine.sending().len()))
    });
}

/// What two readers of the bytes cannot read differently.
fn is_one_head(head: &[u8]) {
    let text = head.strip_suffix(b"\r\n\r\n").expect("an empty line");
    let lines = text.split(|byte| *byte == b'\n').collect::<Vec<_>>();
    for line in &lines {
        assert!(!line.is_empty() && !line.contains(&0));
    }
    assert_eq!(
        head.iter().filter(|byte| **byte == b'\r').count(),
        lines.len() + 1
    );
    let named = |name: &[u8]| {
        let mut count = 0;
        for line in &lines[1..] {
            let got = line.split(|byte| *byte == b':').next().unwrap_or_default();
            count += usize::from(got.eq_ignore_ascii_case(name));
        }
        count
    };
    assert!(named(b"host") <= 1);
    assert!(named(b"content-length") + named(b"transfer-encoding") <= 1);
    let mut room = room();
    // The relay refuses some targets that are sound here.
    if let Ok(parsed) = RequestHead::parse(head, &mut room) {
        let parsed = parsed.expect("a whole one");
        assert_eq!(
            (parsed.len, parsed.fields.len() + 1),
            (head.len(), lines.len())
        );
    }
}

#[test]
fn blocks_of_fields() {
    let corpus = corpus(include_str!("corpus/blocks.txt"));
    run("blocks of fields", 5_000, &corpus, WORDS, |input| {
        let mut decoder = Decoder::new();
        let mut fields = Vec::new();
        let read = decoder.decode(input, |name, value| {
            fields.push((name.to_vec(), value.to_vec()));
        });
        if read.is_err() {
            return outcome("broken");
        }
        let mut block = Vec::new();
        for (name, value) in &fields {
            field(&mut block, name, value);
        }
        let mut again = Vec::new();
        let read = Decoder::new().decode(&block, |name, value| {
            again.push((name.to_vec(), value.to_vec()));
        });
        assert!(read.is_ok());
        for (name, _) in &mut fields {
            name.make_ascii_lowercase();
        }
        assert_eq!(fields, again);
        outcome((fields.len(), input.len().min(40)))
    });
}
