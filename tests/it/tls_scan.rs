//! What sslyze finds, a scanner that nobody here wrote. `tests/run` installs it and names it in
//! `LONGSHORE_SSLYZE`; without that this test says that it looks at nothing.
//!
//! It is run as a program and is no part of Longshore (its licence is the AGPL).

use longshore_tests::balancer;
use longshore_tests::certificates::{Folder, Key, run, s_client};
use serde_json::{Value, json};

/// The suites that a server takes of one version of TLS.
fn suites(found: &Value, version: &str) -> Vec<String> {
    let accepted = &found[format!("{version}_cipher_suites")]["result"]["accepted_cipher_suites"];
    let mut names: Vec<String> = accepted
        .as_array()
        .unwrap_or_else(|| panic!("{version}: {found}"))
        .iter()
        .map(|one| {
            one["cipher_suite"]["name"]
                .as_str()
                .expect("a name")
                .to_owned()
        })
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn sslyze_finds_nothing_that_is_not_meant() {
    let Some(sslyze) = std::env::var_os("LONGSHORE_SSLYZE") else {
        println!("not looked at: LONGSHORE_SSLYZE is not set");
        return;
    };
    let sslyze = sslyze.into_string().expect("text");
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    let (running, _origin) = balancer::https(&folder, "site", "mode: 'off'").await;
    let (address, report, session) = (
        running.address(),
        folder.path("report"),
        folder.path("session"),
    );
    let out = report.clone();
    let scan = tokio::task::spawn_blocking(move || {
        let all = "--sslv2 --sslv3 --tlsv1 --tlsv1_1 --tlsv1_2 --tlsv1_3 --resum --early_data \
                   --compression --fallback --heartbleed --openssl_ccs --robot --reneg \
                   --elliptic_curves --ems";
        let at = address.to_string();
        let mut words = vec!["--quiet", "--mozilla_config=disable", "--sni", "site.test"];
        words.extend(["--json_out", &out]);
        words.extend(all.split_whitespace());
        words.push(&at);
        let scan = run(&sslyze, &words);
        // How its own way to look at sessions goes wrong: see below.
        let resumed = || {
            let first = s_client(address, &["-tls1_2", "-sess_out", &session]);
            let again = s_client(address, &["-tls1_2", "-sess_in", &session]);
            (first.contains("Reused, "), again.contains("Reused, "))
        };
        (scan, resumed())
    });
    let (scan, resumed) = scan.await.expect("it ends");
    let report = std::fs::read_to_string(report)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&scan.stderr)));
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let found = &report["server_scan_results"][0]["scan_result"];

    for version in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        assert_eq!(suites(found, version), Vec::<String>::new(), "{version}");
    }
    // Those of the default policy that a certificate with ECDSA can be used with.
    let with_1_2 = [
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    ];
    assert_eq!(suites(found, "tls_1_2"), with_1_2);
    let with_1_3 = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ];
    assert_eq!(suites(found, "tls_1_3"), with_1_3);
    let result = |scan: &str, key: &str| found[scan]["result"][key].clone();
    for (scan, key, expected) in [
        ("tls_compression", "supports_compression", json!(false)),
        ("tls_1_3_early_data", "supports_early_data", json!(false)),
        (
            "openssl_ccs_injection",
            "is_vulnerable_to_ccs_injection",
            json!(false),
        ),
        ("heartbleed", "is_vulnerable_to_heartbleed", json!(false)),
        (
            "robot",
            "robot_result",
            json!("NOT_VULNERABLE_RSA_NOT_SUPPORTED"),
        ),
        ("tls_fallback_scsv", "supports_fallback_scsv", json!(true)),
        (
            "tls_extended_master_secret",
            "supports_ems_extension",
            json!(true),
        ),
        (
            "session_renegotiation",
            "supports_secure_renegotiation",
            json!(true),
        ),
        (
            "session_renegotiation",
            "is_vulnerable_to_client_renegotiation_dos",
            json!(false),
        ),
        // There is no cache of sessions: replicas share keys, not memory.
        (
            "session_resumption",
            "session_id_resumption_result",
            json!("NOT_SUPPORTED"),
        ),
        // Sessions do go on. The scanner expects to get the same ticket again; what it gets is a new
        // one each time (RFC 5077 §3.3), which it takes for a refusal.
        (
            "session_resumption",
            "tls_ticket_resumption_result",
            json!("NOT_SUPPORTED"),
        ),
    ] {
        assert_eq!(result(scan, key), expected, "{scan}: {}", found[scan]);
    }
    assert_eq!(
        resumed,
        (false, true),
        "what OpenSSL says of sessions of TLS 1.2"
    );
    let curves = result("elliptic_curves", "supported_curves");
    let mut curves: Vec<&str> = curves
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["name"].as_str().expect("a name"))
        .collect();
    curves.sort_unstable();
    assert_eq!(curves, ["X25519", "secp256r1", "secp384r1"]);
}
