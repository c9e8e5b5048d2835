//! Listeners with TLS: names, policies, sessions, files that change. The clients are curl and
//! OpenSSL.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longshore_tests::balancer::{self, Running};
use longshore_tests::certificates::{Folder, Key, curl, s_client};
use longshore_tests::eventually;
use longshore_tests::origin::{Origin, response};
use longshore_tests::process::{Process, TempFile, free_port, output};
use longshore_tests::wire::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A file with one HTTPS listener. `certificates` are names in the folder, `keys` more keys of the
/// listener, one a line.
fn file(
    folder: &Folder,
    at: &str,
    certificates: &[&str],
    keys: &str,
    target: SocketAddr,
) -> String {
    let list: String = certificates
        .iter()
        .map(|name| {
            let (cert, key) = (
                folder.path(&format!("{name}.pem")),
                folder.path(&format!("{name}.key")),
            );
            format!("\n      - {{cert: {cert}, key: {key}}}")
        })
        .collect();
    let keys: String = keys.lines().map(|line| format!("\n    {line}")).collect();
    format!(
        "listeners:\n  - name: web\n    address: {at}\n    protocol: HTTPS\n    certificates:{list}{keys}\n    \
         default_action: [{{type: forward, target_group: app}}]\n\
         target_groups:\n  - name: app\n    targets: [{{address: {}, port: {}}}]\n    health_check: {{enabled: false}}\n",
        target.ip(),
        target.port()
    )
}

async fn start(folder: &Folder, certificates: &[&str], keys: &str) -> (Running, Origin) {
    let origin = Origin::ok("hello").await;
    let text = file(folder, "127.0.0.1:1", certificates, keys, origin.address);
    (balancer::start(&text).await, origin)
}

/// Runs something that blocks beside the balancer.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it ends")
}

#[tokio::test]
async fn curl_reaches_a_target_over_tls_and_the_target_is_told() {
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    let (running, origin) = start(&folder, &["site"], "").await;
    let (address, ca) = (running.address(), folder.path("site.pem"));
    for version in ["--tlsv1.3", "--tls-max"] {
        let ca = ca.clone();
        let (text, good) = blocking(move || {
            let arguments = if version == "--tls-max" {
                vec!["--cacert", &ca, "--tls-max", "1.2"]
            } else {
                vec!["--cacert", &ca, "--tlsv1.3"]
            };
            curl(address, "site.test", &arguments)
        })
        .await;
        assert!(
            good && text.contains("HTTP/1.1 200") && text.ends_with("hello"),
            "{version}: {text}"
        );
    }
    for seen in origin.seen() {
        assert_eq!(seen.head.get("x-forwarded-proto"), Some("https"));
        assert_eq!(
            seen.head.get("x-forwarded-port"),
            Some(address.port().to_string().as_str())
        );
        assert_eq!(seen.head.get("x-amzn-tls-version"), None);
    }
}

#[tokio::test]
async fn targets_are_told_version_and_cipher_if_asked_for_and_no_client_can_say_them() {
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    let origin = Origin::ok("hello").await;
    let text = file(&folder, "127.0.0.1:1", &["site"], "", origin.address);
    let running = balancer::start(&format!(
        "load_balancer: {{enable_tls_version_and_cipher_suite_headers: true}}\n{text}"
    ))
    .await;
    let address = running.address();
    blocking(move || {
        let spoofed = [
            "-k",
            "-H",
            "X-Amzn-Tls-Version: SSLv3",
            "-H",
            "x-amzn-mtls-clientcert-leaf: me",
        ];
        let _first = curl(
            address,
            "site.test",
            &[&spoofed[..], &["--tlsv1.3"]].concat(),
        );
        let _second = curl(
            address,
            "site.test",
            &[&spoofed[..], &["--tls-max", "1.2"]].concat(),
        );
    })
    .await;
    let seen = origin.seen();
    let told: Vec<_> = seen
        .iter()
        .map(|seen| {
            assert_eq!(seen.head.get("x-amzn-mtls-clientcert-leaf"), None);
            (
                seen.head.get("x-amzn-tls-version"),
                seen.head.get("x-amzn-tls-cipher-suite"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (Some("TLSv1.3"), Some("TLS_AES_128_GCM_SHA256")),
            (Some("TLSv1.2"), Some("ECDHE-ECDSA-AES128-GCM-SHA256")),
        ]
    );
}

#[tokio::test]
async fn a_client_gets_the_certificate_for_its_name_and_of_the_kind_that_it_can_use() {
    let folder = Folder::default();
    folder.make("default", &["default.test"], Key::Rsa, 30);
    folder.make("wild", &["*.a.test"], Key::Ecdsa, 30);
    folder.make("exact", &["x.a.test"], Key::Ecdsa, 30);
    folder.make("exact-rsa", &["x.a.test", "rsa.test"], Key::Rsa, 30);
    let all = ["default", "wild", "exact-rsa", "exact"];
    let (running, _origin) = start(&folder, &all, "").await;
    let address = running.address();
    blocking(move || {
        let shown = |arguments: &[&str]| {
            let text = s_client(address, arguments);
            let subject = text
                .lines()
                .find_map(|line| line.strip_prefix("subject=CN = "));
            let kind = if text.contains("Peer signature type: ECDSA") {
                "ecdsa"
            } else {
                "rsa"
            };
            (subject.unwrap_or(&text).to_owned(), kind)
        };
        for (name, subject, kind) in [
            ("x.a.test", "x.a.test", "ecdsa"),
            ("X.A.Test", "x.a.test", "ecdsa"),
            ("y.a.test", "*.a.test", "ecdsa"),
            ("z.y.a.test", "default.test", "rsa"),
            ("rsa.test", "x.a.test", "rsa"),
            ("elsewhere.test", "default.test", "rsa"),
        ] {
            assert_eq!(
                shown(&["-servername", name]),
                (subject.to_owned(), kind),
                "{name}"
            );
        }
        assert_eq!(shown(&["-noservername"]).0, "default.test");
        for version in ["-tls1_2", "-tls1_3"] {
            let only_rsa = [
                "-servername",
                "x.a.test",
                version,
                "-sigalgs",
                "rsa_pss_rsae_sha256:RSA+SHA256",
            ];
            assert_eq!(
                shown(&only_rsa),
                ("x.a.test".to_owned(), "rsa"),
                "{version}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_policy_decides_which_versions_and_ciphers_are_spoken() {
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Rsa, 30);
    // Without a version that is spoken there is no cipher.
    for (policy, tls12, tls13) in [
        ("ELBSecurityPolicy-TLS13-1-2-Res-2021-06", true, true),
        ("ELBSecurityPolicy-TLS13-1-3-2021-06", false, true),
        ("ELBSecurityPolicy-FS-1-2-Res-2020-10", true, false),
    ] {
        let (running, _origin) = start(&folder, &["site"], &format!("ssl_policy: {policy}")).await;
        let address = running.address();
        blocking(move || {
            let speaks = |arguments: &[&str]| s_client(address, arguments).contains("HTTP/1.1 200");
            assert_eq!(speaks(&["-tls1_2"]), tls12, "{policy}");
            assert_eq!(speaks(&["-tls1_3"]), tls13, "{policy}");
            for never in [
                &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
                &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
                &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"],
            ] {
                assert!(!speaks(never), "{policy} {never:?}");
            }
        })
        .await;
    }
}

/// The text of a file for a process, on a port of its own.
fn process_file(folder: &Folder, port: u16, name: &str, keys: &str, target: SocketAddr) -> String {
    let text = file(
        folder,
        &format!("127.0.0.1:{port}"),
        &["site", "other"],
        "",
        target,
    );
    format!(
        "runtime: {{workers: 2, session_ticket_keys: [{keys}]}}\n{}",
        text.replace("name: web", &format!("name: {name}"))
    )
}

#[tokio::test]
async fn a_session_goes_on_at_replicas_and_after_a_restart_with_the_keys_and_nowhere_else() {
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    folder.make("other", &["other.test"], Key::Ecdsa, 30);
    let origin = Origin::ok("hello").await;
    let target = origin.address;
    blocking(move || {
        let key = |byte: char| byte.to_string().repeat(20) + "AAAAAAAAAAAAAAAAAAAAAAA=";
        let (old, new) = (key('b'), key('c'));
        let run = |name: &str, keys: &str| {
            let file = TempFile::new(&process_file(&folder, free_port(), name, keys, target));
            let (process, address) = Process::run(&file);
            (file, process, address)
        };
        let (_f1, first, at_first) = run("web", &old);
        let (_f2, _replica, at_replica) = run("web", &format!("{new}, {old}"));
        let (_f3, _other_listener, at_other_listener) = run("api", &old);
        let (_f4, _other_keys, at_other_keys) = run("web", &new);
        for version in ["-tls1_2", "-tls1_3"] {
            let session = folder.path(&format!("session{version}"));
            let resumed = |address, name: &str, more: &[&str]| {
                let common = [version, "-servername", name];
                let text = s_client(address, &[&common[..], more].concat());
                assert!(text.contains("HTTP/1.1 200"), "{text}");
                text.contains("Reused, ")
            };
            let out = ["-sess_out", &session];
            let with = ["-sess_in", &session];
            assert!(
                !resumed(at_first, "site.test", &out),
                "{version}: the first one"
            );
            assert!(
                resumed(at_first, "site.test", &with),
                "{version}: at the same"
            );
            assert!(
                resumed(at_replica, "site.test", &with),
                "{version}: at a replica"
            );
            assert!(
                !resumed(at_first, "other.test", &with),
                "{version}: for another name"
            );
            assert!(
                !resumed(at_other_listener, "site.test", &with),
                "{version}: another listener"
            );
            assert!(
                !resumed(at_other_keys, "site.test", &with),
                "{version}: without the key"
            );
        }
        drop(first);
        let (_f5, _again, at_again) = run("web", &old);
        for version in ["-tls1_2", "-tls1_3"] {
            let session = folder.path(&format!("session{version}"));
            let with = [version, "-servername", "site.test", "-sess_in", &session];
            let text = s_client(at_again, &with);
            assert!(text.contains("Reused, "), "{version}: after a restart");
        }
    })
    .await;
}

#[tokio::test]
async fn changed_files_are_served_to_new_connections_without_a_failure_and_bad_ones_are_not() {
    let folder = Arc::new(Folder::default());
    folder.make("one", &["one.test"], Key::Ecdsa, 30);
    folder.make("two", &["two.test"], Key::Ecdsa, 30);
    folder.make("old", &["old.test"], Key::Ecdsa, -1);
    folder.put("one", "site");
    let (running, _origin) = start(&folder, &["site"], "").await;
    let address = running.address();
    let subject = move || {
        let text = s_client(address, &["-servername", "any.test"]);
        let subject = text
            .lines()
            .find_map(|line| line.strip_prefix("subject=CN = "));
        subject.unwrap_or(&text).to_owned()
    };
    assert_eq!(blocking(subject).await, "one.test");

    // Load all the while: new connections one after the other.
    let stop = Arc::new(AtomicBool::new(false));
    let (made, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let load = {
        let (stop, made, failed) = (Arc::clone(&stop), Arc::clone(&made), Arc::clone(&failed));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let (text, good) = curl(address, "any.test", &["-k"]);
                made.fetch_add(1, Ordering::Relaxed);
                if !good || !text.ends_with("hello") {
                    eprintln!("{text}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    // A key of another certificate, text that is no PEM, and one that has expired.
    let faults = async |what: &str| {
        eventually(what, async || {
            let view = running.balancer.targets().await.expect("it runs");
            let faults = view.listeners[0].faults.join("\n");
            faults.contains(what).then_some(())
        })
        .await;
        assert_eq!(blocking(subject).await, "one.test", "{what}");
    };
    std::fs::copy(folder.path("two.key"), folder.path("site.key")).expect("copied");
    faults("it is the key of another certificate").await;
    std::fs::write(folder.path("site.pem"), "nothing").expect("written");
    faults("no certificate in PEM").await;
    folder.put("old", "site");
    faults("it has expired").await;
    std::fs::remove_file(folder.path("site.pem")).expect("removed");
    faults("there is no such file").await;

    folder.put("two", "site");
    eventually("the new certificate is served", async || {
        (blocking(subject).await == "two.test").then_some(())
    })
    .await;
    let view = running.balancer.targets().await.expect("it runs");
    assert_eq!(view.listeners[0].faults, Vec::<String>::new());
    stop.store(true, Ordering::Relaxed);
    // Not here: the target runs in this thread.
    blocking(move || load.join().expect("it ends")).await;
    println!("{} handshakes under load", made.load(Ordering::Relaxed));
    assert!(made.load(Ordering::Relaxed) > 0);
    assert_eq!(failed.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn check_names_the_place_the_fault_and_the_mend_of_each_file() {
    let folder = Folder::default();
    folder.make("good", &["a.test"], Key::Ecdsa, 30);
    folder.make("other", &["a.test"], Key::Ecdsa, 30);
    folder.make("old", &["a.test"], Key::Ecdsa, -1);
    std::fs::copy(folder.path("other.key"), folder.path("mixed.key")).expect("copied");
    std::fs::copy(folder.path("good.pem"), folder.path("mixed.pem")).expect("copied");
    std::fs::write(folder.path("text.pem"), "no PEM").expect("written");
    std::fs::copy(folder.path("good.key"), folder.path("text.key")).expect("copied");
    let target = SocketAddr::from(([127, 0, 0, 1], 9));
    let said = |certificates: &[&str]| {
        let file = TempFile::new(&file(&folder, "127.0.0.1:8443", certificates, "", target));
        let path = file.path().to_str().expect("text").to_owned();
        let output = output(&["check", "-c", &path]);
        let text = String::from_utf8_lossy(&output.stderr).replace(&path, "f");
        (text, output.status.success())
    };
    assert_eq!(said(&["good"]), (String::new(), true));
    let (text, good) = said(&["good", "mixed", "text", "missing"]);
    assert!(!good);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    for (line, wanted) in lines.iter().zip([
        (
            "f:7:",
            "listeners[0].certificates[1].key",
            "it is the key of another certificate",
        ),
        (
            "f:8:",
            "listeners[0].certificates[2].cert",
            "no certificate in PEM",
        ),
        (
            "f:9:",
            "listeners[0].certificates[3].cert",
            "there is no such file",
        ),
    ]) {
        assert!(
            line.starts_with(wanted.0) && line.contains(wanted.1) && line.contains(wanted.2),
            "{line}"
        );
    }
    let (text, good) = said(&["good", "old"]);
    assert!(
        good && text.contains("f:7:")
            && text.contains("warning: ")
            && text.contains("has expired; renew it"),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go_and_delays_nobody() {
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    let origin = Origin::ok("hello").await;
    let text = file(&folder, "127.0.0.1:1", &["site"], "", origin.address);
    let running = balancer::start(&format!(
        "load_balancer: {{tls_handshake_timeout: 1s}}\n{text}"
    ))
    .await;
    let address = running.address();
    let began = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(address).await.expect("connected"));
    }
    let (text, good) = blocking(move || curl(address, "site.test", &["-k"])).await;
    assert!(good, "{text}");
    for mut one in silent {
        let mut bytes = Vec::new();
        // A reset is an end, too.
        drop(
            tokio::time::timeout(Duration::from_secs(15), one.read_to_end(&mut bytes))
                .await
                .expect("it ends"),
        );
        assert_eq!(bytes, b"");
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "not too early");
}

/// As many handshakes as a worker has at a time, and one more: the oldest ends, and only that.
#[tokio::test]
async fn with_one_handshake_more_than_allowed_the_oldest_ends_and_new_clients_get_in() {
    const HANDSHAKES_MAX: usize = 1024;
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    let origin = Origin::ok("hello").await;
    let text = file(&folder, "127.0.0.1:1", &["site"], "", origin.address);
    let running = balancer::start(&format!(
        "runtime: {{workers: 1}}\nadmin: {{address: '127.0.0.1:2'}}\nload_balancer: {{tls_handshake_timeout: 60s}}\n{text}"
    ))
    .await;
    let address = running.address();
    let connect = async || TcpStream::connect(address).await.expect("connected");
    let is_open = |one: &TcpStream| {
        let read = one.try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let admin = running.balancer.admin_address().expect("an admin address");
    let shed = async || {
        let text = Wire::connect(admin).await.get("/metrics").await.text();
        let name = "longshore_tls_handshakes_total{result=\"shed\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_MAX {
        silent.push(connect().await);
    }
    eventually("all are at work", async || {
        let text = Wire::connect(admin).await.get("/metrics").await.text();
        let name = "longshore_connections_accepted_total ";
        let count = text.lines().find_map(|line| line.strip_prefix(name));
        let count = count.unwrap_or_else(|| panic!("{text}"));
        (count == HANDSHAKES_MAX.to_string()).then_some(())
    })
    .await;
    assert_eq!(shed().await, "0");
    assert!(silent.iter().all(is_open));
    // This one does not wait for a place.
    let (text, good) = blocking(move || curl(address, "site.test", &["-k"])).await;
    assert!(good, "{text}");
    assert_eq!(shed().await, "1");
    silent[0].readable().await.expect("its end");
    assert!(!is_open(&silent[0]));
    assert!(silent[1..].iter().all(is_open));
}

#[tokio::test]
async fn the_end_is_announced_unless_the_response_was_cut_short() {
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    // Until the end of the connection, with an end that the target does not reach.
    let origin = Origin::raw(|mut wire| async move {
        if longshore_tests::origin::read(&mut wire).await.is_some() {
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                .await;
            wire.stream.shutdown().await.expect("shut down");
        }
    })
    .await;
    let text = file(&folder, "127.0.0.1:1", &["site"], "", origin.address);
    let running = balancer::start(&text).await;
    let address = running.address();
    let (text, good) = blocking(move || curl(address, "site.test", &["-k", "--http1.0"])).await;
    assert!(!good, "a response that was cut short looks whole: {text}");

    let whole = Origin::http(|_| response(200, "whole")).await;
    let text = file(&folder, "127.0.0.1:1", &["site"], "", whole.address);
    let running = balancer::start(&text).await;
    let address = running.address();
    let text = blocking(move || s_client(address, &["-msg"])).await;
    assert!(text.contains("close_notify"), "{text}");
}
