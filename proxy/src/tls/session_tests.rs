use std::io;
use std::sync::Arc;
use std::task::Poll;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_ecdsa_type};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, ServerConfig, SupportedProtocolVersion};
use tokio::io::ReadBuf;

use super::{CONTENT_MAX, Session};
use crate::tls::anybody::Anybody;

fn server(version: &'static SupportedProtocolVersion) -> Session {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
    let key = PrivatePkcs8KeyDer::from(key.expect("a key").as_ref().to_vec());
    let key = any_ecdsa_type(&key.into()).expect("a key");
    let chain = vec![CertificateDer::from(b"no certificate".to_vec())];
    let certified = rustls::sign::CertifiedKey::new(chain, key);
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    let made = UnbufferedServerConnection::new(Arc::new(config));
    made.expect("random bytes").into()
}

fn client_config(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let provider = Arc::new(default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Arc::new(config)
}

fn name() -> ServerName<'static> {
    ServerName::try_from("site.example").expect("a name")
}

fn client(version: &'static SupportedProtocolVersion) -> Session {
    let made = UnbufferedClientConnection::new(client_config(version), name());
    made.expect("random bytes").into()
}

/// Has a session read of the line, at most so many bytes.
fn hear(
    session: &mut Session,
    line: &mut Vec<u8>,
    most: usize,
    room: Option<&mut ReadBuf<'_>>,
) -> Poll<io::Result<usize>> {
    let read = |space: &mut [u8]| {
        if line.is_empty() {
            return Poll::Pending;
        }
        let count = line.len().min(space.len());
        space[..count].copy_from_slice(&line[..count]);
        line.drain(..count);
        Poll::Ready(Ok(count))
    };
    session.receive(most, read, room)
}

/// Sends what waits.
fn flush(session: &mut Session, line: &mut Vec<u8>) {
    line.extend_from_slice(session.output());
    session.sent(session.output().len());
}

/// A handshake in pieces of some size. What is left on the line to the client are tickets.
fn shake_hands(client: &mut Session, server: &mut Session, most: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    while client.state().is_handshaking() || server.state().is_handshaking() {
        flush(client, &mut up);
        if let Poll::Ready(heard) = hear(server, &mut up, most, None) {
            heard.expect("it is understood");
        }
        flush(server, &mut down);
        if let Poll::Ready(heard) = hear(client, &mut down, most, None) {
            heard.expect("it is understood");
        }
    }
    flush(client, &mut up);
    flush(server, &mut down);
    (up, down)
}

fn holds_nothing(session: &Session) -> bool {
    let kept = &session.kept;
    session.rest.capacity() + kept.content.capacity() + kept.out.capacity() == 0
}

#[test]
fn content_passes_in_any_pieces_and_a_session_that_waits_holds_none_of_it() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut rng = SmallRng::seed_from_u64(seed);
        let version = if seed % 2 == 0 { &TLS13 } else { &TLS12 };
        let (mut client, mut server) = (client(version), server(version));
        let most = rng.random_range(1..20_000);
        let (mut up, mut down) = shake_hands(&mut client, &mut server, most);
        for _ in 0..rng.random_range(1..12) {
            let (from, to, line) = match rng.random() {
                true => (&mut client, &mut server, &mut up),
                false => (&mut server, &mut client, &mut down),
            };
            let mut content = vec![0; rng.random_range(1..120_000)];
            rng.fill_bytes(&mut content);
            let mut arrived = Vec::new();
            let mut said = 0;
            while arrived.len() < content.len() || !line.is_empty() {
                flush(from, line);
                if said < content.len() {
                    let half = rng.random_range(said..=content.len());
                    let (first, second) = (&content[said..half], &content[half..]);
                    let taken = from.seal(first, second, |bytes| {
                        let takes = rng.random_range(0..40_000).min(bytes.len());
                        if takes == 0 {
                            return Poll::Pending;
                        }
                        line.extend_from_slice(&bytes[..takes]);
                        Poll::Ready(Ok(takes))
                    });
                    let taken = taken.expect("it is encrypted");
                    assert!((1..=CONTENT_MAX).contains(&taken));
                    said += taken;
                }
                let mut space = vec![0; rng.random_range(1..20_000)];
                let mut room = ReadBuf::new(&mut space);
                if !to.give(&mut room) {
                    let most = rng.random_range(1..20_000);
                    if let Poll::Ready(heard) = hear(to, line, most, Some(&mut room)) {
                        heard.expect("it is understood");
                    }
                }
                arrived.extend_from_slice(room.filled());
            }
            assert!(arrived == content, "other content");
            assert!(hear(to, line, 1, None).is_pending());
            assert!(holds_nothing(from) && holds_nothing(to));
        }
    }
}

#[test]
fn what_was_changed_on_the_way_is_an_error_and_the_other_side_is_told() {
    for version in [&TLS12, &TLS13] {
        let (mut client, mut server) = (client(version), server(version));
        let (mut up, mut down) = shake_hands(&mut client, &mut server, 20_000);
        let written = client.seal(b"content", b"", |bytes| {
            up.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        });
        assert_eq!(written.expect("it is encrypted"), 7);
        *up.last_mut().expect("a record") ^= 1;
        let Poll::Ready(Err(error)) = hear(&mut server, &mut up, 20_000, None) else {
            panic!("it is no error");
        };
        let inner = error.get_ref().and_then(|error| error.downcast_ref());
        assert_eq!(inner, Some(&rustls::Error::DecryptError));
        assert!(!server.has_content());
        flush(&mut server, &mut down);
        let told = loop {
            match hear(&mut client, &mut down, 20_000, None) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => break error.to_string(),
                Poll::Pending => panic!("it is not told"),
            }
        };
        assert!(told.contains("BadRecordMac"), "{told}");
    }
}

#[test]
fn a_session_that_met_something_wrong_says_and_understands_nothing_any_more() {
    for version in [&TLS12, &TLS13] {
        for (mut session, hello) in [(server(version), 1), (client(version), 2)] {
            flush(&mut session, &mut Vec::new());
            // A hello of 100 bytes of which 4 are there, and content in the middle of it: rustls has
            // noted where the first begins.
            let mut wrong = vec![22, 3, 3, 0, 8, hello, 0, 0, 100, 3, 3, 0, 0];
            wrong.extend_from_slice(&[23, 3, 3, 0, 1, 0]);
            let heard = hear(&mut session, &mut wrong, 20_000, None);
            assert!(matches!(heard, Poll::Ready(Err(_))), "{heard:?}");
            let said = session.output().len();
            session.end();
            assert_eq!(session.output().len(), said);
            let sealed = session.seal(b"content", b"", |_| panic!("it is written"));
            assert!(sealed.is_err());
            let heard = hear(&mut session, &mut b"more".to_vec(), 20_000, None);
            assert!(matches!(heard, Poll::Ready(Err(_))), "{heard:?}");
            assert_eq!(session.rest.capacity(), 0);
        }
    }
}

#[test]
fn the_end_is_announced_once_and_what_comes_after_it_counts_for_nothing() {
    for version in [&TLS12, &TLS13] {
        let (mut client, mut server) = (client(version), server(version));
        let (mut up, mut down) = shake_hands(&mut client, &mut server, 20_000);
        client.end();
        let once = client.output().len();
        assert!(once > 0);
        client.end();
        assert_eq!(client.output().len(), once);
        flush(&mut client, &mut up);
        up.extend_from_slice(b"no record at all");
        assert!(matches!(
            hear(&mut server, &mut up, 20_000, None),
            Poll::Ready(Ok(1..))
        ));
        assert!(server.has_ended() && !server.has_content() && server.rest.is_empty());
        // The other direction goes on.
        server
            .seal(b"last words", b"", |bytes| {
                down.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            })
            .expect("it is encrypted");
        let mut space = [0; 100];
        let mut room = ReadBuf::new(&mut space);
        while hear(&mut client, &mut down, 20_000, Some(&mut room)).is_ready() {}
        assert_eq!(room.filled(), b"last words");
    }
}

#[test]
fn keys_are_renewed_in_the_middle_as_the_other_side_wants() {
    // The judge is rustls with buffers.
    let mut judge = ClientConnection::new(client_config(&TLS13), name()).expect("random bytes");
    let mut server = server(&TLS13);
    for round in 0..20 {
        let mut line = Vec::new();
        if !judge.is_handshaking() {
            judge.refresh_traffic_keys().expect("TLS 1.3 can");
            io::Write::write_all(&mut judge.writer(), b"again?").expect("room");
        }
        while judge.wants_write() {
            judge.write_tls(&mut line).expect("written");
        }
        let mut space = [0; 100];
        let mut room = ReadBuf::new(&mut space);
        while let Poll::Ready(heard) = hear(&mut server, &mut line, 50, Some(&mut room)) {
            heard.expect("it is understood");
        }
        flush(&mut server, &mut line);
        if round > 2 {
            assert_eq!(room.filled(), b"again?");
            let sealed = server.seal(b"again.", b"", |bytes| {
                line.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            });
            sealed.expect("it is encrypted");
        }
        let mut came = &line[..];
        while !came.is_empty() {
            judge.read_tls(&mut came).expect("read");
            judge.process_new_packets().expect("it is understood");
        }
        if round > 2 {
            let mut answer = [0; 6];
            io::Read::read_exact(&mut judge.reader(), &mut answer).expect("an answer");
            assert_eq!(&answer, b"again.");
        }
    }
}
