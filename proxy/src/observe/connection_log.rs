//! Lines of the log of client connections: ALB's fields in their order (user guide, "Connection log
//! entries"), and one of ours behind them. Nothing is made of them while there is no such log.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::{CertificateError, Error};

use super::text;
use crate::clock;
use crate::control::ids::ListenerId;
use crate::serve::client::Client;
use crate::serve::worker::Worker;
use crate::tls::accept::Lost;
use crate::tls::clients;

/// What a line says.
#[derive(Debug, Default)]
struct Entry<'e> {
    /// Microseconds since 1970-01-01.
    time: u64,
    ends: Option<(SocketAddr, SocketAddr)>,
    version: &'e str,
    cipher: &'e str,
    handshake: Option<Duration>,
    /// Subject, validity and serial number of the client's certificate.
    certificate: Option<clients::Shown>,
    verified: &'e str,
    number: u64,
    exchange: String,
    listener: String,
    /// Why there is no connection.
    error: &'e str,
}

/// A connection without TLS.
pub(crate) fn plain(client: &Client) {
    client.worker.recorder.connected(|out| {
        line(&of_client(client), out);
    });
}

/// A connection with TLS. `verifies`: the client had to show a certificate.
pub(crate) fn secure(client: &Client, tls: &rustls::CommonState, verifies: bool, took: Duration) {
    client.worker.recorder.connected(|out| {
        let leaf = tls.peer_certificates().and_then(|chain| chain.first());
        let group = tls.negotiated_key_exchange_group();
        let mut entry = of_client(client);
        if let Some(agreed) = client.tls() {
            (entry.version, entry.cipher) = (agreed.version, agreed.cipher);
        }
        entry.handshake = Some(took);
        entry.certificate = leaf.and_then(clients::shown);
        entry.verified = if verifies && leaf.is_some() {
            "Success"
        } else {
            ""
        };
        entry.exchange = group.map_or(String::new(), |group| format!("{:?}", group.name()));
        line(&entry, out);
    });
}

/// A handshake that did not come to an end.
pub(crate) fn lost(worker: &Worker, id: ListenerId, ends: (SocketAddr, SocketAddr), lost: &Lost) {
    worker.recorder.connected(|out| {
        let cause = lost.error.as_ref();
        let error = cause.map_or(lost.ended.name().to_owned(), ToString::to_string);
        let mut entry = begun(worker, id, ends, worker.number());
        entry.verified = cause
            .and_then(|error| error.get_ref()?.downcast_ref())
            .map_or("Failed:UnmappedConnectionError", verdict);
        entry.error = &error;
        line(&entry, out);
    });
}

/// A connection for which there was no room, and why.
pub(crate) fn shed(worker: &Worker, id: ListenerId, ends: (SocketAddr, SocketAddr), why: &str) {
    worker.recorder.connected(|out| {
        let mut entry = begun(worker, id, ends, worker.number());
        entry.error = why;
        line(&entry, out);
    });
}

fn of_client<'e>(client: &Client) -> Entry<'e> {
    let ends = (client.peer, client.local);
    begun(&client.worker, client.listener, ends, client.number)
}

fn begun<'e>(
    worker: &Worker,
    id: ListenerId,
    ends: (SocketAddr, SocketAddr),
    number: u64,
) -> Entry<'e> {
    let snapshot = worker.shared.load();
    let listener = snapshot.listener(id);
    Entry {
        time: clock::wall_micros(),
        ends: Some(ends),
        number,
        listener: listener.map_or(String::new(), |listener| listener.name.to_string()),
        ..Entry::default()
    }
}

/// ALB's words for what was wrong with a client's certificate.
fn verdict(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "Failed:ClientCertExpired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "Failed:ClientCertNotYetValid"
            }
            CertificateError::Revoked => "Failed:ClientCertCrlHit",
            CertificateError::UnknownIssuer => "Failed:ClientCertUntrusted",
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "Failed:ClientCertPurposeInvalid"
            }
            CertificateError::BadEncoding | CertificateError::BadSignature => {
                "Failed:ClientCertInvalid"
            }
            _ => "Failed:ClientCertRejected",
        },
        Error::General(why) if why == clients::TOO_LONG => "Failed:ClientCertMaxChainDepthExceeded",
        _ => "Failed:UnmappedConnectionError",
    }
}

fn line(entry: &Entry<'_>, out: &mut Vec<u8>) {
    text::moment(entry.time, out);
    // Writing into memory does not fail.
    match entry.ends {
        Some((client, local)) => {
            let (ip, port, listener) = (client.ip(), client.port(), local.port());
            write!(out, " {ip} {port} {listener} ").unwrap_or_default();
        }
        None => out.extend_from_slice(b" - - - "),
    }
    word(entry.version, out);
    word(entry.cipher, out);
    match entry.handshake {
        Some(took) => write!(out, "{:.3} ", took.as_secs_f64()).unwrap_or_default(),
        None => word("", out),
    }
    match &entry.certificate {
        Some(shown) => {
            text::quoted(&[shown.subject.as_bytes()], out);
            write!(out, "{} {} ", shown.validity, shown.serial).unwrap_or_default();
        }
        None => out.extend_from_slice(b"\"-\" - - "),
    }
    word(entry.verified, out);
    text::connection(entry.number, out);
    out.push(b' ');
    word(&entry.exchange, out);
    word(&entry.listener, out);
    match entry.ends {
        Some((_, local)) => write!(out, "{} ", local.ip()).unwrap_or_default(),
        None => word("", out),
    }
    text::quoted(&[text::or_dash(entry.error.as_bytes())], out);
    // The space behind the last field.
    out.pop();
    out.push(b'\n');
}

fn word(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text::or_dash(text.as_bytes()));
    out.push(b' ');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Entry, line};
    use crate::tls::clients::Shown;

    #[test]
    fn a_line_has_albs_fields_in_their_order_and_one_of_ours() {
        let mut out = Vec::new();
        let entry = Entry {
            time: 1_696_439_115_514_108,
            ends: Some((
                ([203, 0, 113, 1], 36280).into(),
                ([10, 0, 0, 9], 443).into(),
            )),
            version: "TLSv1.2",
            cipher: "ECDHE-RSA-AES128-GCM-SHA256",
            handshake: Some(Duration::from_micros(4_036)),
            certificate: Some(Shown {
                subject: "CN=a,O=\"b\"".to_owned(),
                validity: "NotBefore=2023-09-21T22:43:21Z;NotAfter=2026-06-17T22:43:21Z".to_owned(),
                serial: "FEF257372D5C14D4".to_owned(),
            }),
            verified: "Success",
            number: 0xabcd,
            exchange: "X25519".to_owned(),
            listener: "web".to_owned(),
            error: "",
        };
        line(&entry, &mut out);
        line(&Entry::default(), &mut out);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "2023-10-04T17:05:15.514108Z 203.0.113.1 36280 443 TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256 0.004 \"CN=a,O=\\x22b\\x22\" NotBefore=2023-09-21T22:43:21Z;NotAfter=2026-06-17T22:43:21Z FEF257372D5C14D4 Success TID_0000000000000000000000000000abcd X25519 web 10.0.0.9 \"-\"
1970-01-01T00:00:00.000000Z - - - - - - \"-\" - - - TID_00000000000000000000000000000000 - - - \"-\"
"
        );
    }
}
