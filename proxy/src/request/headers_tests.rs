use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Forwarded, to_client, to_target};

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_str(value).expect("a value"),
        );
    }
    headers
}

fn forwarded(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = map(fields);
    let values = Forwarded {
        address: HeaderValue::from_static("192.0.2.7"),
        proto: HeaderValue::from_static("http"),
        port: HeaderValue::from_static("8080"),
    };
    to_target(&mut headers, &values);
    headers
}

#[test]
fn the_client_is_told_to_the_target() {
    let headers = forwarded(&[("host", "a")]);
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-port"], "8080");
}

#[test]
fn an_address_is_appended_to_all_that_was_there() {
    let headers = forwarded(&[
        ("x-forwarded-for", "10.0.0.1, 10.0.0.2"),
        ("x-forwarded-for", "10.0.0.3"),
    ]);
    assert_eq!(
        headers["x-forwarded-for"],
        "10.0.0.1, 10.0.0.2, 10.0.0.3, 192.0.2.7"
    );
    assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
}

#[test]
fn a_clients_own_scheme_and_port_are_replaced() {
    let headers = forwarded(&[
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-port", "2"),
    ]);
    assert_eq!(
        headers
            .get_all("x-forwarded-proto")
            .iter()
            .collect::<Vec<_>>(),
        ["http"]
    );
    assert_eq!(
        headers
            .get_all("x-forwarded-port")
            .iter()
            .collect::<Vec<_>>(),
        ["8080"]
    );
}

#[test]
fn fields_for_one_connection_are_removed_in_both_directions() {
    let fields = [
        ("connection", "keep-alive, X-Secret"),
        ("connection", "x-other"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("expect", "100-continue"),
        ("x-secret", "1"),
        ("x-other", "2"),
        ("x-stays", "3"),
    ];
    let mut response = map(&fields);
    to_client(&mut response);
    assert_eq!(response, map(&[("x-stays", "3")]));
    let request = forwarded(&fields);
    assert_eq!(request.len(), 4, "{request:?}");
    assert_eq!(request["x-stays"], "3");
}

#[test]
fn connection_cannot_name_away_what_frames_or_names_the_request() {
    let headers = forwarded(&[
        (
            "connection",
            "host, content-length, x-forwarded-for, x-forwarded-proto",
        ),
        ("host", "a"),
        ("content-length", "3"),
    ]);
    assert_eq!(headers["host"], "a");
    assert_eq!(headers["content-length"], "3");
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(headers["x-forwarded-proto"], "http");
}

#[test]
fn te_trailers_goes_through() {
    assert_eq!(forwarded(&[("te", "gzip, Trailers")])["te"], "trailers");
    assert!(!forwarded(&[("te", "gzip")]).contains_key("te"));
    assert!(!forwarded(&[("te", "xtrailers")]).contains_key("te"));
}

#[test]
fn trailer_announcements_go_through() {
    let headers = forwarded(&[("trailer", "x-checksum")]);
    assert_eq!(headers["trailer"], "x-checksum");
}
