use super::super::PREFACE;
use super::{
    Abuse, CONTINUATIONS_MAX, EMPTY_DATA_MAX, INTERIMS_MAX, OTHERS_MAX, PINGS_MAX, REFILL,
    REFILL_MILLIS, RESETS_MAX, SETTINGS_MAX, WINDOW_UPDATES_MAX, Watch,
};

fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
    let length_bytes = u32::try_from(length).expect("short").to_be_bytes();
    let mut bytes = length_bytes[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
    bytes.resize(9 + length, 0xFF);
    bytes
}

fn begun() -> Watch {
    let mut watch = Watch::new(0);
    watch.read(PREFACE, 0).expect("no frame");
    watch
}

#[test]
fn each_budget_holds_its_number_and_no_more() {
    for (kind, flags, length, max, abuse) in [
        (0, 0, 0, EMPTY_DATA_MAX, Abuse::EmptyData),
        (3, 0, 4, RESETS_MAX, Abuse::RapidReset),
        (4, 0, 6, SETTINGS_MAX, Abuse::Settings),
        (6, 0, 8, PINGS_MAX, Abuse::Ping),
        (6, 1, 8, PINGS_MAX, Abuse::Ping),
        (8, 0, 4, WINDOW_UPDATES_MAX, Abuse::WindowUpdate),
        (2, 0, 5, OTHERS_MAX, Abuse::Other),
        (0x42, 0, 100, OTHERS_MAX, Abuse::Other),
        (9, 0, 1, CONTINUATIONS_MAX, Abuse::Continuation),
    ] {
        let mut watch = begun();
        let one = frame(kind, flags, length);
        for count in 0..max {
            assert_eq!(watch.read(&one, 0), Ok(()), "{abuse:?} {count}");
        }
        assert_eq!(watch.read(&one, 0), Err(abuse));
    }
}

#[test]
fn frames_are_found_wherever_the_reads_cut_them() {
    let mut bytes = PREFACE.to_vec();
    for _ in 0..SETTINGS_MAX {
        bytes.extend(frame(4, 0, 6));
        bytes.extend(frame(0, 0, 1_000));
        bytes.extend(frame(0, 1, 0));
    }
    for step in [1, 2, 7, 9, 10, 1_013, bytes.len()] {
        let mut watch = Watch::new(0);
        for part in bytes.chunks(step) {
            assert_eq!(watch.read(part, 0), Ok(()), "{step}");
        }
        assert_eq!(watch.read(&frame(4, 0, 0), 0), Err(Abuse::Settings));
    }
}

#[test]
fn requests_data_and_time_give_back() {
    let mut watch = begun();
    let (ping, headers, reset) = (frame(6, 0, 8), frame(1, 4, 10), frame(3, 0, 4));
    for _ in 0..10 * PINGS_MAX {
        watch.read(&headers, 0).expect("within budget");
        watch.read(&ping, 0).expect("one for each request");
        watch.sending(100);
        watch.read(&ping, 0).expect("one for each frame of data");
        watch.completed();
        watch.read(&reset, 0).expect("one for each complete stream");
    }
    // The latest one was not given back yet.
    for _ in 1..PINGS_MAX {
        watch.read(&ping, 0).expect("within budget");
    }
    for _ in 0..REFILL {
        watch.read(&ping, REFILL_MILLIS).expect("a minute later");
    }
    assert_eq!(watch.read(&ping, REFILL_MILLIS), Err(Abuse::Ping));
    // Not sooner. A watch that has refused a frame is not asked again, so this is another one.
    let mut watch = begun();
    for _ in 0..PINGS_MAX {
        watch.read(&ping, 0).expect("within budget");
    }
    assert_eq!(watch.read(&ping, REFILL_MILLIS - 1), Err(Abuse::Ping));
}

#[test]
fn a_head_in_as_many_frames_as_it_may_need_is_no_flood_however_often() {
    let mut watch = begun();
    for _ in 0..1_000 {
        watch.read(&frame(1, 0, 100), 0).expect("a head");
        for _ in 0..CONTINUATIONS_MAX {
            watch.read(&frame(9, 0, 100), 0).expect("the rest of it");
        }
    }
}

#[test]
fn a_target_has_the_same_budgets_and_one_for_interim_responses() {
    for (kind, flags, length, max, abuse) in [
        (1, 4, 1, INTERIMS_MAX, Abuse::Interim),
        (3, 0, 4, RESETS_MAX, Abuse::RapidReset),
        (4, 0, 6, SETTINGS_MAX, Abuse::Settings),
        (8, 0, 4, WINDOW_UPDATES_MAX, Abuse::WindowUpdate),
    ] {
        let mut watch = Watch::of_target(0);
        let one = frame(kind, flags, length);
        for count in 0..max {
            assert_eq!(watch.read(&one, 0), Ok(()), "{abuse:?} {count}");
        }
        assert_eq!(watch.read(&one, 0), Err(abuse));
    }
}

#[test]
fn what_we_send_gives_a_target_back_what_it_needs_for_it() {
    let mut watch = Watch::of_target(0);
    let (headers, reset) = (frame(1, 4, 1), frame(3, 0, 4));
    for _ in 0..10 * INTERIMS_MAX {
        watch.opened();
        watch.read(&headers, 0).expect("the response");
        watch.read(&headers, 0).expect("its trailers");
        watch.read(&reset, 0).expect("it needs no more of the body");
    }
    let window = frame(8, 0, 4);
    for _ in 0..10 * WINDOW_UPDATES_MAX {
        watch.sending(1);
        watch.read(&window, 0).expect("for the stream");
        watch.read(&window, 0).expect("for the connection");
    }
    assert!(watch.take_answered());
    assert!(!watch.take_answered());
}

#[test]
fn a_connection_wears_out_before_its_empty_frames_end_it() {
    let mut watch = Watch::of_target(0);
    for _ in 0..EMPTY_DATA_MAX / 2 {
        assert!(!watch.is_worn());
        watch.read(&frame(0, 0, 0), 0).expect("within budget");
    }
    assert!(watch.is_worn());
}
