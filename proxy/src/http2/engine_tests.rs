use std::task::{Context, Waker};

use h2::Reason;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::frame::{HEAD, Head, flag, kind, setting};
use super::{
    CONNECTION_WINDOW, ENDED_MAX, Engine, Event, FRAME_MAX, GIVEN_BACK, Lend, OUT_MAX,
    STREAM_WINDOW,
};
use crate::http2::PREFACE;
use crate::http2::hpack;

struct Lender;

impl Lend for Lender {
    fn text(&self) -> Vec<u8> {
        Vec::new()
    }

    fn key(&self) -> String {
        "key".into()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = Head {
        length: payload.len(),
        kind,
        flags,
        stream,
    };
    [&head.bytes(), payload].concat()
}

fn request(stream: u32, more: &[(&str, &str)], ends: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ]
    .iter()
    .chain(more)
    {
        hpack::field(&mut block, name.as_bytes(), value.as_bytes());
    }
    let flags = flag::END_HEADERS | if ends { flag::END_STREAM } else { 0 };
    frame(kind::HEADERS, flags, stream, &block)
}

/// A connection whose settings were exchanged.
fn engine() -> Engine {
    let mut engine = Engine::new(4);
    let begin = [PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat();
    assert_eq!(engine.receive(&begin, &Lender), begin.len());
    said(&mut engine);
    engine
}

/// What is to be sent, as frames. All of it is sent then.
fn said(engine: &mut Engine) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut bytes = engine.sending();
    let all = bytes.len();
    let mut frames = Vec::new();
    while let Some(head) = Head::parse(bytes) {
        let payload = bytes[HEAD..HEAD + head.length].to_vec();
        frames.push((head.kind, head.flags, head.stream, payload));
        bytes = &bytes[HEAD + head.length..];
    }
    assert!(bytes.is_empty(), "a frame in pieces");
    engine.sent(all);
    frames
}

fn came(engine: &mut Engine, bytes: &[u8]) {
    assert_eq!(engine.receive(bytes, &Lender), bytes.len());
}

fn opened(engine: &mut Engine) -> u32 {
    match engine.event() {
        Some(Event::Request(opened)) => opened.id,
        other => panic!("no request: {other:?}"),
    }
}

fn reset(stream: u32, reason: Reason) -> (u8, u8, u32, Vec<u8>) {
    let code = u32::from(reason).to_be_bytes().to_vec();
    (kind::RST_STREAM, 0, stream, code)
}

/// The code with which the connection was ended.
fn ended(engine: &mut Engine) -> Option<Reason> {
    let frames = said(engine);
    let (_, _, _, payload) = frames.iter().find(|frame| frame.0 == kind::GOAWAY)?;
    assert!(engine.is_over());
    let code = payload[4..8].try_into().expect("four bytes");
    Some(Reason::from(u32::from_be_bytes(code)))
}

#[test]
fn the_same_comes_of_bytes_in_any_pieces() {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
    bytes.extend(request(1, &[("content-length", "5")], false));
    bytes.extend(frame(kind::DATA, 0, 1, b"hel"));
    bytes.extend(frame(kind::DATA, flag::END_STREAM, 1, b"lo"));
    for size in 1..bytes.len() {
        let mut engine = Engine::new(4);
        let (mut start, mut end) = (0, 0);
        while end < bytes.len() {
            end = (end + size).min(bytes.len());
            start += engine.receive(&bytes[start..end], &Lender);
        }
        assert_eq!(start, bytes.len());
        assert_eq!(opened(&mut engine), 1);
        let stream = engine.stream(1).expect("open");
        assert_eq!(stream.content(), b"hello");
        assert!(stream.has_ended());
    }
}

#[test]
fn errors_of_the_connection_end_it_with_their_code() {
    let window = |more: u32| more.to_be_bytes().to_vec();
    let setting = |name: u16, value: u32| {
        let payload = [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        frame(kind::SETTINGS, 0, 0, &payload)
    };
    let open = request(1, &[], false);
    let after = |bytes: Vec<u8>| [open.clone(), bytes].concat();
    for (what, bytes, reason) in [
        (
            "DATA on 0",
            frame(kind::DATA, 0, 0, b"x"),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "DATA on an idle stream",
            frame(kind::DATA, 0, 1, b"x"),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "HEADERS on 0",
            frame(kind::HEADERS, 4, 0, b""),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "HEADERS on an even stream",
            frame(kind::HEADERS, 4, 2, b""),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a block that is none",
            frame(kind::HEADERS, 4, 1, &[0x80]),
            Reason::COMPRESSION_ERROR,
        ),
        (
            "padding beyond the frame",
            frame(kind::HEADERS, 4 | 8, 1, &[9]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a stream that depends on itself",
            frame(kind::HEADERS, 4 | 32, 1, &[0, 0, 0, 1, 0]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "PRIORITY on 0",
            frame(kind::PRIORITY, 0, 0, &[0; 5]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "RST_STREAM on 0",
            frame(kind::RST_STREAM, 0, 0, &[0; 4]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "RST_STREAM on an idle stream",
            frame(kind::RST_STREAM, 0, 1, &[0; 4]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a short RST_STREAM",
            after(frame(kind::RST_STREAM, 0, 1, &[0; 3])),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "SETTINGS on a stream",
            frame(kind::SETTINGS, 0, 1, &[]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "SETTINGS of another size",
            frame(kind::SETTINGS, 0, 0, &[0; 5]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "an ACK with settings",
            frame(kind::SETTINGS, 1, 0, &[0; 6]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "push 2",
            setting(setting::ENABLE_PUSH, 2),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a window that is too large",
            setting(setting::INITIAL_WINDOW_SIZE, 1 << 31),
            Reason::FLOW_CONTROL_ERROR,
        ),
        (
            "frames that are too small",
            setting(setting::MAX_FRAME_SIZE, 16_383),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "PUSH_PROMISE",
            frame(kind::PUSH_PROMISE, 4, 1, &[0; 4]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "PING on a stream",
            frame(kind::PING, 0, 1, &[0; 8]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a short PING",
            frame(kind::PING, 0, 0, &[0; 7]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "GOAWAY on a stream",
            frame(kind::GOAWAY, 0, 1, &[0; 8]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a short GOAWAY",
            frame(kind::GOAWAY, 0, 0, &[0; 7]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "a window of 0",
            frame(kind::WINDOW_UPDATE, 0, 0, &window(0)),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a window beyond the largest",
            frame(kind::WINDOW_UPDATE, 0, 0, &window(0x7FFF_FFFF)),
            Reason::FLOW_CONTROL_ERROR,
        ),
        (
            "WINDOW_UPDATE on an idle stream",
            frame(kind::WINDOW_UPDATE, 0, 1, &window(1)),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a short WINDOW_UPDATE",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "CONTINUATION of nothing",
            frame(kind::CONTINUATION, 4, 1, &[]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a frame between the parts of a block",
            [
                frame(kind::HEADERS, 0, 1, &[]),
                frame(kind::PING, 0, 0, &[0; 8]),
            ]
            .concat(),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "CONTINUATION of another stream",
            [
                frame(kind::HEADERS, 0, 1, &[]),
                frame(kind::CONTINUATION, 4, 3, &[]),
            ]
            .concat(),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a frame that is too large",
            Head {
                length: FRAME_MAX + 1,
                kind: kind::DATA,
                flags: 0,
                stream: 1,
            }
            .bytes()
            .to_vec(),
            Reason::FRAME_SIZE_ERROR,
        ),
    ] {
        let mut engine = engine();
        engine.receive(&bytes, &Lender);
        assert_eq!(ended(&mut engine), Some(reason), "{what}");
    }
    // The beginning.
    for (what, bytes) in [
        ("no preface", &b"GET / HTTP/1.1\r\n\r\n        "[..]),
        (
            "no settings",
            &[PREFACE, &frame(kind::PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "an ACK first",
            &[PREFACE, &frame(kind::SETTINGS, flag::ACK, 0, &[])].concat(),
        ),
    ] {
        let mut engine = Engine::new(4);
        engine.receive(bytes, &Lender);
        assert_eq!(ended(&mut engine), Some(Reason::PROTOCOL_ERROR), "{what}");
    }
}

#[test]
fn errors_of_a_stream_end_it_alone() {
    let many = vec![0; FRAME_MAX];
    let window = frame(kind::DATA, 0, 1, &many).repeat(STREAM_WINDOW as usize / FRAME_MAX);
    let sized = request(1, &[("content-length", "3")], false);
    let open = request(1, &[], false);
    let data = |flags, content: &[u8]| frame(kind::DATA, flags, 1, content);
    for (what, bytes, reason) in [
        (
            "too much",
            [&open, &window, &data(0, b"x")]
                .map(|part| &part[..])
                .concat(),
            Reason::FLOW_CONTROL_ERROR,
        ),
        (
            "more than its length",
            [sized.clone(), data(0, b"1234")].concat(),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "less than its length",
            [sized.clone(), data(1, b"12")].concat(),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "trailers before its length",
            [sized, frame(kind::HEADERS, 5, 1, &[])].concat(),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "trailers that do not end it",
            [open.clone(), frame(kind::HEADERS, 4, 1, &[])].concat(),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "content after its end",
            [open.clone(), data(1, b""), data(0, b"x")].concat(),
            Reason::STREAM_CLOSED,
        ),
        (
            "fields after its end",
            [open.clone(), data(1, b""), frame(kind::HEADERS, 5, 1, &[])].concat(),
            Reason::STREAM_CLOSED,
        ),
        (
            "a window of 0",
            [open.clone(), frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a window beyond the largest",
            [
                open.clone(),
                frame(kind::WINDOW_UPDATE, 0, 1, &[0x7F, 255, 255, 255]),
            ]
            .concat(),
            Reason::FLOW_CONTROL_ERROR,
        ),
        (
            "a priority of its own",
            [open.clone(), frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 0])].concat(),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "a short PRIORITY",
            [open.clone(), frame(kind::PRIORITY, 0, 1, &[0; 4])].concat(),
            Reason::FRAME_SIZE_ERROR,
        ),
    ] {
        let mut engine = engine();
        came(&mut engine, &bytes);
        let resets: Vec<_> = said(&mut engine)
            .into_iter()
            .filter(|frame| frame.0 == kind::RST_STREAM)
            .collect();
        assert_eq!(resets, [reset(1, reason)], "{what}");
        assert_eq!(opened(&mut engine), 1);
        assert!(engine.stream(1).expect("known").is_reset(), "{what}");
        engine.leave(1, Reason::CANCEL);
        came(&mut engine, &request(3, &[], true));
        assert_eq!(opened(&mut engine), 3, "{what}");
    }
}

#[test]
fn a_malformed_request_is_reset_and_told() {
    let mut engine = engine();
    came(&mut engine, &request(1, &[("connection", "close")], true));
    assert_eq!(said(&mut engine), [reset(1, Reason::PROTOCOL_ERROR)]);
    assert!(matches!(engine.event(), Some(Event::Malformed(_))));
    // What it sends on it afterwards was on its way, unless it had ended it.
    came(&mut engine, &request(3, &[("connection", "close")], false));
    came(&mut engine, &frame(kind::DATA, 0, 3, b"x"));
    assert_eq!(said(&mut engine), [reset(3, Reason::PROTOCOL_ERROR)]);
    came(&mut engine, &frame(kind::DATA, 0, 1, b"x"));
    assert_eq!(ended(&mut engine), Some(Reason::STREAM_CLOSED));
}

#[test]
fn one_stream_more_than_allowed_is_refused_until_another_ends() {
    let mut engine = engine();
    for id in [1, 3, 5, 7] {
        came(&mut engine, &request(id, &[], true));
        assert_eq!(opened(&mut engine), id);
    }
    came(&mut engine, &request(9, &[], true));
    assert_eq!(said(&mut engine), [reset(9, Reason::REFUSED_STREAM)]);
    // Its task need not have ended for that.
    came(&mut engine, &frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    came(&mut engine, &request(11, &[], true));
    assert_eq!(opened(&mut engine), 11);
    engine.respond(3, 200, &[], true);
    came(&mut engine, &request(13, &[], true));
    assert_eq!(opened(&mut engine), 13);
    engine.leave(1, Reason::CANCEL);
    engine.leave(3, Reason::CANCEL);
    assert!(engine.event().is_none());
}

#[test]
fn content_goes_as_far_as_both_windows_and_the_room_reach() {
    let cx = Context::from_waker(Waker::noop());
    let mut engine = engine();
    came(
        &mut engine,
        &frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 10]),
    );
    came(&mut engine, &request(1, &[], true));
    engine.respond(1, 200, &[], false);
    assert_eq!(engine.room(1), 10);
    engine.content(1, b"0123456789", false);
    assert!(engine.poll_room(1, &cx).is_pending());
    came(
        &mut engine,
        &frame(kind::WINDOW_UPDATE, 0, 1, &100_000_u32.to_be_bytes()),
    );
    assert!(engine.poll_room(1, &cx).is_ready());
    // That of the connection.
    said(&mut engine);
    let mut sent = 10;
    while engine.room(1) > 0 {
        let piece = vec![0; engine.room(1).min(20_000)];
        engine.content(1, &piece, false);
        sent += piece.len();
        said(&mut engine);
    }
    assert_eq!(sent, 65_535);
    came(
        &mut engine,
        &frame(kind::WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes()),
    );
    came(
        &mut engine,
        &frame(kind::WINDOW_UPDATE, 0, 1, &1_000_000_u32.to_be_bytes()),
    );
    // What is not sent.
    engine.content(1, &vec![0; engine.room(1)], false);
    assert!(engine.poll_room(1, &cx).is_pending());
    let waits: usize = said(&mut engine)
        .iter()
        .map(|frame| frame.3.len() + HEAD)
        .sum();
    assert!((OUT_MAX..OUT_MAX + 10 * HEAD).contains(&waits), "{waits}");
    engine.wake_waiting();
    assert!(engine.poll_room(1, &cx).is_ready());
    // A smaller window may make it negative.
    came(
        &mut engine,
        &frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]),
    );
    assert!(engine.stream(1).expect("open").window > 0);
}

#[test]
fn windows_are_given_back_as_content_is_taken_and_not_before() {
    let mut engine = engine();
    came(&mut engine, &request(1, &[], false));
    let half = vec![7; STREAM_WINDOW as usize / 2];
    for part in half.chunks(FRAME_MAX) {
        came(&mut engine, &frame(kind::DATA, 0, 1, part));
    }
    assert_eq!(said(&mut engine), []);
    engine.take(1, half.len() - 1);
    assert_eq!(said(&mut engine), []);
    engine.take(1, 1);
    let more = (STREAM_WINDOW / 2).to_be_bytes().to_vec();
    let of = |id| (kind::WINDOW_UPDATE, 0, id, more.clone());
    assert_eq!(said(&mut engine), [of(1), of(0)]);
    // What nobody takes gives back that of the connection, in the end.
    let mut id = 1;
    let mut given = 0;
    while given == 0 {
        for part in half.chunks(FRAME_MAX) {
            came(&mut engine, &frame(kind::DATA, 0, id, part));
        }
        engine.leave(id, Reason::CANCEL);
        id += 2;
        came(&mut engine, &request(id, &[], false));
        let updates = said(&mut engine).into_iter();
        given = updates
            .filter(|frame| frame.0 == kind::WINDOW_UPDATE && frame.2 == 0)
            .map(|frame| u32::from_be_bytes(frame.3.try_into().expect("four bytes")))
            .sum();
        assert!(id < 100);
    }
    assert!(given >= GIVEN_BACK);
}

#[test]
fn streams_that_nobody_reads_leave_the_others_their_windows() {
    const STALLED: u32 = 100;
    let mut engine = Engine::new(128);
    let begin = [PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat();
    came(&mut engine, &begin);
    let piece = vec![7; FRAME_MAX];
    let mut left = i64::from(CONNECTION_WINDOW);
    let mut fill = |engine: &mut Engine, id: u32| {
        came(engine, &request(id, &[], false));
        for _ in 0..STREAM_WINDOW as usize / FRAME_MAX {
            left -= piece.len() as i64;
            assert!(left >= 0, "stream {id} has to wait for others");
            came(engine, &frame(kind::DATA, 0, id, &piece));
        }
        let updates = said(engine).into_iter();
        left += updates
            .filter(|frame| frame.0 == kind::WINDOW_UPDATE && frame.2 == 0)
            .map(|frame| i64::from(u32::from_be_bytes(frame.3.try_into().expect("four bytes"))))
            .sum::<i64>();
    };
    for stalled in 0..STALLED {
        fill(&mut engine, 2 * stalled + 1);
    }
    for more in STALLED..STALLED + 1_000 {
        let id = 2 * more + 1;
        fill(&mut engine, id);
        engine.take(id, STREAM_WINDOW as usize);
        engine.leave(id, Reason::CANCEL);
    }
}

#[test]
fn who_resets_a_stream_that_is_being_answered_had_enough_of_it() {
    let mut engine = engine();
    for (id, answered) in [(1, false), (3, true)] {
        came(&mut engine, &request(id, &[], true));
        if answered {
            engine.respond(id, 200, &[], false);
            engine.content(id, b"x", false);
        }
        let reset = frame(kind::RST_STREAM, 0, id, &[0, 0, 0, 8]);
        came(&mut engine, &[reset.clone(), reset].concat());
        assert_eq!(engine.take_had_enough(), u32::from(answered), "{id}");
    }
}

#[test]
fn padding_counts_in_windows_and_is_no_content() {
    let mut engine = engine();
    came(&mut engine, &request(1, &[("content-length", "2")], false));
    came(
        &mut engine,
        &frame(
            kind::DATA,
            flag::PADDED | flag::END_STREAM,
            1,
            b"\x03hi\0\0\0",
        ),
    );
    let stream = engine.stream(1).expect("open");
    assert_eq!(stream.content(), b"hi");
    assert!(stream.has_ended());
}

#[test]
fn the_end_is_part_of_the_last_frame_while_that_is_here() {
    let mut engine = engine();
    came(&mut engine, &request(1, &[], true));
    engine.respond(1, 200, &[], false);
    engine.content(1, b"all", false);
    engine.content(1, b"", true);
    let frames = said(&mut engine);
    assert_eq!(
        frames[1..],
        [(kind::DATA, flag::END_STREAM, 1, b"all".to_vec())]
    );
    engine.leave(1, Reason::CANCEL);
    came(&mut engine, &request(3, &[], true));
    engine.respond(3, 200, &[], false);
    engine.content(3, b"all", false);
    // It may be encrypted already.
    said(&mut engine);
    engine.content(3, b"", true);
    assert_eq!(
        said(&mut engine),
        [(kind::DATA, flag::END_STREAM, 3, vec![])]
    );
}

#[test]
fn a_large_head_goes_on_in_other_frames() {
    let mut engine = engine();
    came(&mut engine, &request(1, &[], true));
    let long = vec![b'v'; 20_000];
    engine.respond(1, 200, &[(&b"x"[..], &long[..]); 3], true);
    let frames = said(&mut engine);
    let kinds: Vec<_> = frames.iter().map(|frame| (frame.0, frame.1)).collect();
    assert_eq!(
        kinds,
        [
            (kind::HEADERS, flag::END_STREAM),
            (kind::CONTINUATION, 0),
            (kind::CONTINUATION, 0),
            (kind::CONTINUATION, flag::END_HEADERS)
        ]
    );
    let block: Vec<u8> = frames.into_iter().flat_map(|frame| frame.3).collect();
    let mut count = 0;
    let decoded = hpack::Decoder::new().decode(&block, |_, value| {
        count += usize::from(value == long);
    });
    assert_eq!((decoded, count), (Ok(()), 3));
}

#[test]
fn a_client_that_is_told_to_go_has_those_streams_served_that_were_on_their_way() {
    let mut engine = engine();
    engine.announce_end();
    let frames = said(&mut engine);
    assert_eq!(frames[0].0, kind::GOAWAY);
    assert_eq!(frames[0].3[..4], [0x7F, 255, 255, 255]);
    came(&mut engine, &request(1, &[], true));
    assert_eq!(opened(&mut engine), 1);
    let (_, _, _, opaque) = &frames[1];
    came(&mut engine, &frame(kind::PING, flag::ACK, 0, opaque));
    assert_eq!(said(&mut engine)[0].3[..4], [0, 0, 0, 1]);
    came(&mut engine, &request(3, &[], false));
    came(&mut engine, &frame(kind::DATA, 0, 3, b"x"));
    assert!(engine.event().is_none(), "it knows");
    assert!(!engine.is_over());
    engine.respond(1, 200, &[], true);
    engine.leave(1, Reason::CANCEL);
    assert!(engine.is_over());
}

#[test]
fn a_stream_that_is_left_ends_with_the_code_that_fits() {
    for (responded, ended, reason) in [
        (false, true, Some(Reason::INTERNAL_ERROR)),
        (false, false, Some(Reason::INTERNAL_ERROR)),
        (true, false, Some(Reason::NO_ERROR)),
        (true, true, None),
    ] {
        let mut engine = engine();
        came(&mut engine, &request(1, &[], ended));
        if responded {
            engine.respond(1, 200, &[], true);
        }
        said(&mut engine);
        engine.leave(1, Reason::INTERNAL_ERROR);
        let wanted: Vec<_> = reason.map(|reason| reset(1, reason)).into_iter().collect();
        assert_eq!(said(&mut engine), wanted);
    }
}

#[test]
fn a_connection_that_rests_has_no_room_for_streams_and_goes_on_as_before() {
    let mut engine = engine();
    for stream in [1, 3, 5] {
        came(&mut engine, &request(stream, &[("cookie", "a=b")], true));
        // With streams nothing is given up.
        engine.rest();
        assert_eq!(opened(&mut engine), stream);
        engine.respond(stream, 200, &[], true);
        engine.leave(stream, Reason::INTERNAL_ERROR);
        assert_eq!(said(&mut engine)[0].2, stream);
        engine.rest();
        let room = engine.streams.capacity() + engine.events.capacity();
        assert_eq!(room + engine.waiting.capacity(), 0);
    }
}

#[test]
fn settings_of_the_table_make_us_say_that_we_remember_nothing() {
    let mut engine = engine();
    came(
        &mut engine,
        &frame(kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]),
    );
    came(&mut engine, &request(1, &[], true));
    said(&mut engine);
    engine.respond(1, 200, &[], true);
    assert_eq!(said(&mut engine)[0].3, [0x20, 0x88]);
}

#[test]
fn streams_that_wait_for_room_have_it_in_turn() {
    let cx = Context::from_waker(Waker::noop());
    let mut engine = engine();
    let window = 0x7FFF_0000_u32.to_be_bytes();
    let mut settings = vec![0, 4];
    settings.extend(window);
    came(&mut engine, &frame(kind::SETTINGS, 0, 0, &settings));
    came(&mut engine, &frame(kind::WINDOW_UPDATE, 0, 0, &window));
    for id in [1, 3, 5, 7] {
        came(&mut engine, &request(id, &[], true));
        engine.respond(id, 200, &[], false);
    }
    let mut had = [0; 8];
    for round in 0..100 {
        engine.wake_waiting();
        for id in [1, 3, 5, 7] {
            // Each as much as it gets.
            while engine.poll_room(id, &cx).is_ready() {
                let piece = vec![0; engine.room(id)];
                engine.content(id, &piece, false);
                had[id as usize] += piece.len();
            }
        }
        // The socket takes all that there is, or little.
        let most = if round % 3 == 0 { usize::MAX } else { 20_000 };
        let sent = engine.sending().len().min(most);
        engine.sent(sent);
    }
    let had = [had[1], had[3], had[5], had[7]];
    let least = had.iter().min().expect("some");
    // Turns are of a frame, or of what there is.
    assert!(
        had.iter().all(|had| *had > 0 && *had <= 3 * least),
        "{had:?}"
    );
}

#[test]
fn a_stream_without_a_window_of_its_own_takes_nobodys_turn() {
    let cx = Context::from_waker(Waker::noop());
    let mut engine = engine();
    for id in [1, 3, 5, 7] {
        came(&mut engine, &request(id, &[], true));
        engine.respond(id, 200, &[], false);
    }
    engine.content(1, &vec![0; 65_535 - 1], false);
    said(&mut engine);
    engine.content(3, b"x", false);
    for id in [1, 3, 5, 7] {
        assert!(engine.poll_room(id, &cx).is_pending());
    }
    came(
        &mut engine,
        &frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]),
    );
    came(
        &mut engine,
        &frame(kind::WINDOW_UPDATE, 0, 7, &[0, 0, 0, 1]),
    );
    came(
        &mut engine,
        &frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
    );
    engine.wake_waiting();
    for id in [1, 3, 5] {
        assert!(engine.poll_room(id, &cx).is_pending());
    }
    assert!(engine.poll_room(7, &cx).is_ready());
}

#[test]
fn what_a_client_provokes_is_counted() {
    let mut engine = engine();
    came(&mut engine, &request(1, &[], false));
    assert_eq!(engine.take_faults(), 0);
    for (what, bytes) in [
        (
            "a stream that we end",
            frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4]),
        ),
        (
            "a malformed request",
            request(3, &[("connection", "x")], true),
        ),
        (
            "content that is none",
            frame(kind::DATA, flag::PADDED, 1, &[0]),
        ),
        ("fields for a stream that is over", request(3, &[], true)),
    ] {
        engine.receive(&bytes, &Lender);
        assert_eq!(engine.take_faults(), 1, "{what}");
    }
}

#[test]
fn nothing_is_said_on_a_stream_that_was_reset() {
    let mut engine = engine();
    came(&mut engine, &request(1, &[], true));
    engine.respond(1, 200, &[], false);
    said(&mut engine);
    came(&mut engine, &frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    assert_eq!(engine.room(1), 0);
    engine.content(1, b"", true);
    engine.leave(1, Reason::INTERNAL_ERROR);
    assert_eq!(said(&mut engine), []);
}

#[test]
fn a_stream_that_was_skipped_cannot_be_opened_any_more() {
    let mut engine = engine();
    came(&mut engine, &request(5, &[], true));
    engine.receive(&request(3, &[], true), &Lender);
    assert_eq!(ended(&mut engine), Some(Reason::PROTOCOL_ERROR));
}

/// Whatever comes, it is bounded what is kept, and nothing panics.
#[test]
fn frames_at_random_are_survived_within_the_bounds() {
    let seed = 21;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut requests = 0;
    for _ in 0..10_000 {
        let mut engine = engine();
        for _ in 0..rng.random_range(1..60) {
            let stream = *[0, 1, 1, 3, 3, 5, 7, 9, 11, 2]
                .choose(&mut rng)
                .expect("some");
            let mut bytes = match rng.random_range(0..10) {
                0..4 => request(stream, &[], rng.random()),
                4..6 => frame(kind::DATA, rng.random_range(0..2), stream, &[0; 5_000]),
                _ => {
                    let payload: Vec<u8> = (0..*[0, 4, 5, 6, 8, 9].choose(&mut rng).expect("some"))
                        .map(|_| rng.random_range(0..3))
                        .collect();
                    frame(rng.random_range(0..11), rng.random(), stream, &payload)
                }
            };
            if rng.random_range(0..20) == 0 {
                let place = rng.random_range(0..bytes.len());
                bytes[place] = rng.random();
            }
            engine.receive(&bytes, &Lender);
            while let Some(event) = engine.event() {
                if let Event::Request(opened) = event {
                    requests += 1;
                    match rng.random_range(0..4) {
                        0 => engine.leave(opened.id, Reason::CANCEL),
                        1 => engine.respond(opened.id, 200, &[], true),
                        2 => engine.content(opened.id, b"x", rng.random()),
                        _ => {}
                    }
                }
            }
            let held: usize = [1, 3, 5, 7, 9, 11]
                .iter()
                .map(|id| {
                    engine
                        .stream(*id)
                        .map_or(0, |stream| stream.content().len())
                })
                .sum();
            assert!(held <= CONNECTION_WINDOW as usize);
            assert!(engine.open <= 4);
            assert!(engine.ended.len() <= ENDED_MAX);
            if engine.is_over() {
                break;
            }
        }
    }
    assert!(requests > 2_000, "{requests} requests");
}
