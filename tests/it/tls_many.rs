//! Ten thousand certificates at one listener: how long they take to load, and what they cost. Figures,
//! so it runs only when it is asked for:
//!
//! `cargo test --workspace --test it tls_many:: -- --ignored --nocapture`

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_tests::certificates::{Folder, s_client};
use longshore_tests::process::{Process, TempFile, free_port};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

const COUNT: usize = 10_000;

/// RFC 7468.
fn pem(what: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {what}-----");
    for (index, three) in der.chunks(3).enumerate() {
        if index % 16 == 0 {
            text.push('\n');
        }
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(match digit {
                digit if digit > three.len() => '=',
                _ => char::from(DIGITS[value as usize]),
            });
        }
    }
    text + &format!("\n-----END {what}-----\n")
}

/// How long a full handshake takes, on average over so many names.
fn handshake(address: SocketAddr, config: &Arc<ClientConfig>, names: &[String]) -> Duration {
    let began = Instant::now();
    for name in names {
        let mut socket = TcpStream::connect(address).expect("connected");
        socket.set_nodelay(true).expect("open");
        let name = ServerName::try_from(name.clone()).expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).expect("a handshake");
        }
        tls.send_close_notify();
        tls.complete_io(&mut socket).expect("sent");
        socket.flush().expect("sent");
    }
    began.elapsed() / u32::try_from(names.len()).expect("few")
}

#[test]
#[ignore = "it makes ten thousand certificates"]
fn ten_thousand_certificates_are_loaded_and_each_is_found() {
    let folder = Folder::default();
    let mut list = String::new();
    for number in 0..COUNT {
        let key = rcgen::KeyPair::generate().expect("a key");
        let name = format!("s{number}.test");
        let made = rcgen::CertificateParams::new(vec![name]).and_then(|it| it.self_signed(&key));
        let (cert, own) = (
            folder.path(&format!("{number}.pem")),
            folder.path(&format!("{number}.key")),
        );
        let made = made.expect("a certificate");
        std::fs::write(&cert, pem("CERTIFICATE", made.der())).expect("written");
        std::fs::write(&own, pem("PRIVATE KEY", &key.serialize_der())).expect("written");
        writeln!(list, "      - {{cert: {cert}, key: {own}}}").expect("a string");
    }
    let run = |list: &str| {
        let config = TempFile::new(&format!(
            "runtime: {{workers: 1}}\nlisteners:\n  - name: web\n    address: 127.0.0.1:{}\n    protocol: HTTPS\n    \
             certificates:\n{list}    default_action: [{{type: fixed_response, fixed_response: {{status_code: 200}}}}]\n",
            free_port()
        ));
        let began = Instant::now();
        let (process, address) = Process::run(&config);
        (process, address, began.elapsed())
    };
    let first = list.lines().next().expect("a line");
    let (small, at_one, one) = run(&format!("{first}\n"));
    let (large, at_many, many) = run(&list);
    println!(
        "1 certificate: {one:?}, {} KiB; {COUNT}: {many:?}, {} KiB",
        small.memory() / 1024,
        large.memory() / 1024
    );
    // Each handshake asks for another name. The best of some rounds, as others use the machine too.
    let mut config = longshore::tls::anybody::client_config(&[]).expect("ciphers");
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);
    let names = |of: usize| -> Vec<String> {
        let places = (0..200).map(|turn| turn * 7_919 % of);
        places.map(|place| format!("s{place}.test")).collect()
    };
    let (one, all) = (names(1), names(COUNT));
    let rounds: Vec<_> = (0..5)
        .map(|_| {
            let before_one = handshake(at_one, &config, &one);
            (before_one, handshake(at_many, &config, &all))
        })
        .collect();
    let (before_one, _) = rounds.iter().min_by_key(|(one, _)| one).expect("rounds");
    let (_, before_many) = rounds.iter().min_by_key(|(_, many)| many).expect("rounds");
    println!("a handshake: {before_one:?} before 1, {before_many:?} before {COUNT}");
    // It would be hundreds of times as long if all were looked at.
    assert!(*before_many < *before_one * 3);
    let known = std::fs::read_to_string(folder.path("9999.pem")).expect("read");
    let shown = s_client(at_many, &["-servername", "s9999.test"]);
    assert!(
        shown
            .replace(['\r', '\n'], "")
            .contains(&known.replace(['\r', '\n'], ""))
    );
}
