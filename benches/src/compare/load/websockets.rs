//! `websockets`, which lies beside this program. What it prints is read as that of `handshakes`.

pub(super) fn arguments(
    address: std::net::SocketAddr,
    connections: usize,
    seconds: u64,
) -> Vec<String> {
    vec![
        address.to_string(),
        connections.to_string(),
        seconds.to_string(),
    ]
}
