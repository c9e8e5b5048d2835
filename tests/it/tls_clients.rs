//! Mutual TLS: which clients get in, and what targets are told of them.

use longshore_tests::balancer::{self, Running};
use longshore_tests::certificates::{Folder, Key, curl, s_client};

fn made() -> Folder {
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    folder.authority("ca");
    folder.authority("stranger");
    folder.issue("ca", "good", "/C=DE/O=Acme, Inc./CN=good", "clientAuth", 30);
    folder.issue("ca", "revoked", "/CN=revoked", "clientAuth", 30);
    folder.issue("ca", "expired", "/CN=expired", "clientAuth", -1);
    folder.issue("stranger", "unknown", "/CN=unknown", "clientAuth", 30);
    folder.revoke("ca", "crl.pem", &["revoked"]);
    folder
}

/// Whether a client with that certificate gets a response.
async fn gets_in(running: &Running, folder: &Folder, name: &str, more: &'static str) -> bool {
    let (address, cert, key) = (
        running.address(),
        folder.path(&format!("{name}.pem")),
        folder.path(&format!("{name}.key")),
    );
    let with = !name.is_empty();
    let work = move || {
        let own = ["--cert", cert.as_str(), "--key", key.as_str()];
        let own = if with { &own[..] } else { &[] };
        let spoofed = [
            "-k",
            more,
            "-H",
            "X-Amzn-Mtls-Clientcert-Subject: CN=root",
            "-H",
            "x-amzn-mtls-clientcert: me",
        ];
        curl(address, "site.test", &[&spoofed[..], own].concat())
    };
    let (text, good) = tokio::task::spawn_blocking(work).await.expect("it ends");
    good && text.contains("HTTP/1.1 200")
}

#[tokio::test]
async fn only_clients_of_a_trusted_authority_get_in_and_targets_are_told_who_they_are() {
    let folder = made();
    let verify = "mode: verify, trust_store: [$ca.pem], crl: [$crl.pem]";
    let (running, origin) = balancer::https(&folder, "site", verify).await;
    for version in ["--tlsv1.3", "--tlsv1.2"] {
        assert!(
            gets_in(&running, &folder, "good", version).await,
            "{version}"
        );
        for name in ["", "revoked", "expired", "unknown"] {
            assert!(
                !gets_in(&running, &folder, name, version).await,
                "{name:?} {version}"
            );
        }
    }
    let seen = origin.seen();
    assert_eq!(seen.len(), 2, "nobody else reached the target");
    let head = &seen[0].head;
    let field = |name: &str| {
        let name = format!("x-amzn-mtls-clientcert-{name}");
        head.get(&name)
            .unwrap_or_else(|| panic!("{name}: {head:?}"))
            .to_owned()
    };
    let serial = longshore_tests::certificates::run(
        "openssl",
        &[
            "x509",
            "-noout",
            "-serial",
            "-subject",
            "-issuer",
            "-nameopt",
            "RFC2253",
            "-in",
            &folder.path("good.pem"),
        ],
    );
    let known = String::from_utf8(serial.stdout).expect("text");
    let known = |name: &str| {
        known
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("said")
            .to_owned()
    };
    assert_eq!(field("serial-number"), known("serial="));
    assert_eq!(field("subject"), known("subject="));
    assert_eq!(field("subject"), "CN=good,O=Acme\\, Inc.,C=DE");
    assert_eq!(field("issuer"), known("issuer="));
    let validity = field("validity");
    assert!(
        validity.starts_with("NotBefore=20")
            && validity.contains("Z;NotAfter=20")
            && validity.ends_with('Z'),
        "{validity}"
    );
    let leaf = std::fs::read_to_string(folder.path("good.pem")).expect("read");
    assert_eq!(field("leaf").replace("%20", " ").replace("%0A", "\n"), leaf);
    assert_eq!(
        head.get("x-amzn-mtls-clientcert"),
        None,
        "what the client says is removed"
    );
}

#[tokio::test]
async fn an_expired_certificate_counts_if_that_is_ignored_and_a_revoked_one_does_not() {
    let folder = made();
    let verify = "mode: verify, trust_store: [$ca.pem], crl: [$crl.pem], ignore_client_certificate_expiry: true";
    let (running, _origin) = balancer::https(&folder, "site", verify).await;
    assert!(gets_in(&running, &folder, "good", "--tlsv1.3").await);
    assert!(gets_in(&running, &folder, "expired", "--tlsv1.3").await);
    assert!(!gets_in(&running, &folder, "revoked", "--tlsv1.3").await);
    assert!(!gets_in(&running, &folder, "unknown", "--tlsv1.3").await);
}

#[tokio::test]
async fn a_target_judges_for_itself_what_is_passed_through() {
    let folder = made();
    let (running, origin) = balancer::https(&folder, "site", "mode: passthrough").await;
    for name in ["unknown", ""] {
        assert!(
            gets_in(&running, &folder, name, "--tlsv1.3").await,
            "{name:?}"
        );
    }
    let seen = origin.seen();
    let chain = seen[0].head.get("x-amzn-mtls-clientcert").expect("told");
    let leaf = std::fs::read_to_string(folder.path("unknown.pem")).expect("read");
    assert_eq!(chain.replace("%20", " ").replace("%0A", "\n"), leaf);
    assert_eq!(seen[1].head.get("x-amzn-mtls-clientcert"), None);
    assert_eq!(seen[1].head.get("x-amzn-mtls-clientcert-subject"), None);
}

#[tokio::test]
async fn names_of_authorities_are_told_if_asked_for_and_no_session_is_kept() {
    let folder = made();
    for (advertise, told) in [("'off'", false), ("'on'", true)] {
        let verify = format!(
            "mode: verify, trust_store: [$ca.pem], advertise_trust_store_ca_names: {advertise}"
        );
        let (running, _origin) = balancer::https(&folder, "site", &verify).await;
        let address = running.address();
        let (cert, key) = (folder.path("good.pem"), folder.path("good.key"));
        let session = folder.path("session");
        let work = move || {
            let own = ["-tls1_3", "-cert", &cert, "-key", &key];
            let first = s_client(address, &[&own[..], &["-sess_out", &session]].concat());
            let again = s_client(address, &[&own[..], &["-sess_in", &session]].concat());
            (first, again)
        };
        let (first, again) = tokio::task::spawn_blocking(work).await.expect("it ends");
        assert!(first.contains("HTTP/1.1 200"), "{first}");
        assert_eq!(first.contains("O = Tests, CN = ca"), told, "{first}");
        assert!(!again.contains("Reused, "), "{again}");
    }
}

/// OpenSSL as the client: it gets in with a certificate, and else is told why it does not.
#[tokio::test]
async fn openssl_gets_in_with_a_certificate_and_is_told_why_without() {
    let folder = made();
    let verify = "mode: verify, trust_store: [$ca.pem], crl: [$crl.pem]";
    let (running, origin) = balancer::https(&folder, "site", verify).await;
    let address = running.address();
    let said = async |version: &'static str, name: &str| {
        let (cert, key) = (
            folder.path(&format!("{name}.pem")),
            folder.path(&format!("{name}.key")),
        );
        let with = !name.is_empty();
        let work = move || {
            let own = ["-cert", cert.as_str(), "-key", key.as_str()];
            let own = if with { &own[..] } else { &[] };
            s_client(address, &[&[version], own].concat())
        };
        tokio::task::spawn_blocking(work).await.expect("it ends")
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let text = said(version, "good").await;
        assert!(text.contains("HTTP/1.1 200"), "{version}: {text}");
        for (name, alert) in [
            ("revoked", "alert certificate revoked"),
            ("expired", "alert certificate expired"),
            ("unknown", "alert unknown ca"),
            ("", "alert certificate required"),
        ] {
            let text = said(version, name).await;
            assert!(!text.contains("HTTP/1.1"), "{version} {name:?}: {text}");
            assert!(text.contains(alert), "{version} {name:?}: {text}");
        }
    }
    assert_eq!(origin.seen().len(), 2, "nobody else reached the target");
}
