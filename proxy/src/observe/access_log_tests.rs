use std::time::Duration;

use regex::Regex;

use crate::observe::note::{Note, Tried, TriedResult};
use crate::observe::room::Room;
use crate::observe::text::Second;

/// A line as it is written where there is enough room.
fn written(write: for<'r> fn(&Note, &mut Second, Room<'r>) -> Room<'r>, note: &Note) -> Vec<u8> {
    let mut bytes = vec![0; 200_000];
    let room = write(note, &mut Second::default(), Room::new(&mut bytes));
    let left = room.left().expect("enough");
    bytes.truncate(bytes.len() - left);
    bytes
}

fn alb(note: &Note, out: &mut Vec<u8>) {
    out.extend(written(super::alb, note));
}

fn json(note: &Note, out: &mut Vec<u8>) {
    out.extend(written(super::json, note));
}

/// The fields that a reader of ALB's logs takes apart: words, and texts in quotes.
fn fields(line: &str) -> Vec<String> {
    let field = Regex::new(r#""([^"]*)"|([^ ]+)"#).expect("valid");
    let found = field.captures_iter(line.trim_end());
    found
        .map(|found| {
            found
                .get(1)
                .or(found.get(2))
                .expect("one")
                .as_str()
                .to_owned()
        })
        .collect()
}

fn note() -> Note {
    let mut note = Note {
        kind: "https",
        ended: 1_530_570_180_186_641,
        client: Some(([192, 168, 131, 39], 2817).into()),
        local: Some(([10, 0, 0, 9], 443).into()),
        connection: 0x1234_abcd,
        version: "HTTP/1.1",
        rule: Some(Some(10)),
        status: Some(200),
        target_status: Some(200),
        received: 34,
        sent: 366,
        cipher: "ECDHE-RSA-AES128-GCM-SHA256",
        protocol: "TLSv1.2",
        whole: true,
        ..Note::default()
    };
    note.times.request = Some(Duration::from_micros(86_001));
    note.times.target = Some(Duration::from_millis(48));
    note.times.response = Some(Duration::from_millis(37));
    note.times.total = Duration::from_secs(1);
    note.listener = note.put(b"web");
    note.method = note.put(b"GET");
    note.url = note.put_url(true, b"www.example.com", 443, b"/?q=\"a b\"");
    note.user_agent = note.put(b"curl/8 \"x\" \xC3\xA4\n");
    note.trace = note.put(b"Root=1-58337281-1d84f3d73c47ec4e58577259");
    note.group = note.put(b"app");
    let target = note.put(b"t1/web:80");
    note.tried.push(Tried {
        address: ([10, 0, 0, 1], 80).into(),
        target,
        result: Some(TriedResult::Status(200)),
        took: Duration::from_millis(48),
    });
    note
}

#[test]
fn a_line_has_albs_34_fields_in_their_order_and_one_of_ours() {
    let mut out = Vec::new();
    alb(&note(), &mut out);
    let line = String::from_utf8(out).expect("ASCII");
    assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
    let expected = [
        "https",
        "2018-07-02T22:23:00.186641Z",
        "web",
        "192.168.131.39:2817",
        "10.0.0.1:80",
        "0.086001",
        "0.048000",
        "0.037000",
        "200",
        "200",
        "34",
        "366",
        r"GET https://www.example.com:443/?q=\x22a b\x22 HTTP/1.1",
        r"curl/8 \x22x\x22 \xC3\xA4\x0A",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLSv1.2",
        "app",
        "Root=1-58337281-1d84f3d73c47ec4e58577259",
        "-",
        "-",
        "10",
        "2018-07-02T22:22:59.186641Z",
        "forward",
        "-",
        "-",
        "10.0.0.1:80",
        "200",
        "-",
        "-",
        "TID_0000000000000000000000001234abcd",
        "-",
        "-",
        "-",
        "10.0.0.9",
        "-",
    ];
    assert_eq!(fields(&line), expected);
}

#[test]
fn what_did_not_come_to_pass_is_a_dash_or_minus_one() {
    let mut out = Vec::new();
    let mut empty = Note {
        kind: "http",
        status: Some(400),
        reason: Some("malformed_request"),
        ..Note::default()
    };
    alb(&empty, &mut out);
    let line = String::from_utf8(out).expect("ASCII");
    let got = fields(&line);
    assert_eq!(got.len(), 35);
    assert_eq!(got[3..10], ["-", "-", "-1", "-1", "-1", "400", "-"]);
    assert_eq!(
        (got[12].as_str(), got[24].as_str(), got[34].as_str()),
        ("- - -", "-", "malformed_request")
    );
    empty.reason = Some("redirect");
    let mut out = Vec::new();
    alb(&empty, &mut out);
    let got = fields(&String::from_utf8(out).expect("ASCII"));
    assert_eq!((got[22].as_str(), got[34].as_str()), ("redirect", "-"));
}

#[test]
fn a_line_of_json_has_the_attempts_and_times_and_nothing_that_is_empty() {
    let mut out = Vec::new();
    let mut note = note();
    let target = note.put(b"t2");
    let refused = Tried {
        address: ([10, 0, 0, 2], 81).into(),
        target,
        result: Some(TriedResult::Failed("connect_failed")),
        took: Duration::from_micros(1),
    };
    note.tried.insert(0, refused);
    json(&note, &mut out);
    assert!(out.ends_with(b"\n") && out.iter().filter(|it| **it == b'\n').count() == 1);
    let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    let seconds = |micros: f64| micros / 1_000_000.0;
    let expected = serde_json::json!({
        "time": "2018-07-02T22:23:00.186641Z",
        "type": "https",
        "listener": "web",
        "client": "192.168.131.39:2817",
        "method": "GET",
        "url": "https://www.example.com:443/?q=\"a b\"",
        "version": "HTTP/1.1",
        "user_agent": "curl/8 \"x\" \u{e4}\n",
        "trace_id": "Root=1-58337281-1d84f3d73c47ec4e58577259",
        "connection": "TID_0000000000000000000000001234abcd",
        "rule": "10",
        "target_group": "app",
        "candidates": 0,
        "fail_open": false,
        "attempts": [
            {
                "target": "t2",
                "address": "10.0.0.2:81",
                "failure": "connect_failed",
                "seconds": seconds(1.0),
            },
            {
                "target": "t1/web:80",
                "address": "10.0.0.1:80",
                "status": 200,
                "seconds": 0.048,
            },
        ],
        "status": 200,
        "target_status": 200,
        "received_bytes": 34,
        "sent_bytes": 366,
        "whole": true,
        "seconds": {
            "total": 1.0,
            "request": 0.086_001,
            "target": 0.048,
            "response": 0.037,
            "elsewhere": 0.0,
        },
        "tls_protocol": "TLSv1.2",
        "tls_cipher": "ECDHE-RSA-AES128-GCM-SHA256",
    });
    assert_eq!(value, expected);
}

#[test]
fn a_line_of_json_is_json_whatever_happened() {
    let read = |note: &Note| -> serde_json::Value {
        let mut out = Vec::new();
        json(note, &mut out);
        serde_json::from_slice(&out).expect("JSON")
    };
    let value = read(&Note::default());
    assert_eq!(value["attempts"], serde_json::json!([]));
    assert_eq!(value.get("client"), None);
    let mut odd = note();
    odd.url = odd.put(b"/\xFF\"\\\x00");
    odd.rule = Some(None);
    odd.reason = Some("malformed_request");
    odd.classification = Some(("Severe", "BadUri"));
    let value = read(&odd);
    assert_eq!(value["url"], "/\u{fffd}\"\\\0");
    assert_eq!(value["rule"], "default");
    assert_eq!(value["classification_reason"], "BadUri");
}
