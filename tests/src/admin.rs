//! A client of the admin server.

use std::net::SocketAddr;

use crate::wire::{Response, Wire};

/// Asks for a path.
pub async fn get(admin: SocketAddr, path: &str) -> Response {
    Wire::connect(admin).await.get(path).await
}

/// Posts JSON, with more fields of the head, each ended by a line break.
pub async fn post(admin: SocketAddr, path: &str, body: &str, more: &str) -> Response {
    let mut client = Wire::connect(admin).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    );
    client.send(head).await;
    client.response().await
}

/// Has the file read again.
///
/// # Panics
/// If it is refused.
pub async fn reload(admin: SocketAddr) {
    let got = post(admin, "/reload", "", "").await;
    assert_eq!(got.status(), 200, "{}", got.text());
}

/// The value of a series at this moment, with its labels as they are written; none if there is no
/// such series.
pub async fn figure(admin: SocketAddr, series: &str) -> Option<f64> {
    let text = get(admin, "/metrics").await.text();
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    rest.parse().ok()
}
