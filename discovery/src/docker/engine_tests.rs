use super::{millis, signal};

#[test]
fn times_are_milliseconds_and_the_year_1_is_none() {
    assert_eq!(millis("1970-01-01T00:00:01.234567891Z"), Some(1_234));
    assert_eq!(millis("2026-11-21T10:00:00+01:00"), Some(1_795_251_600_000));
    assert_eq!(millis("0001-01-01T00:00:00Z"), None);
    assert_eq!(millis("yesterday"), None);
    assert_eq!(millis(""), None);
}

#[test]
fn signals_are_read_as_numbers_and_as_names() {
    for (text, number) in [
        ("15", Some(15)),
        ("SIGTERM", Some(15)),
        ("QUIT", Some(3)),
        ("SIGRTMIN+3", Some(37)),
        ("SIGNONSENSE", None),
        ("", None),
        ("900", None),
    ] {
        assert_eq!(signal(text), number, "{text:?}");
    }
}
