//! What it refuses, and what it says of figures that are not valid; what is spoken.

use super::*;

#[tokio::test]
async fn beyond_loopback_it_refuses_and_sends_nothing() {
    let origin = Origin::ok("").await;
    // An address for documents, which is nobody's.
    let got = compare(&[&url(origin.address), "http://192.0.2.1:9/"]).await;
    let (code, out, error) = said(&got);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        error.starts_with("longshore: URL_B: http://192.0.2.1:9/: "),
        "{error}"
    );
    assert!(error.contains("--yes-i-own-both"), "{error}");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn tls_and_http2_are_spoken_where_they_are_asked_for() {
    let folder = Folder::default();
    folder.make("site", &["shop.example.com"], Key::Ecdsa, 30);
    let (secure, _origin) = https(&folder, "site", "").await;
    let plain = Origin::ok("").await;
    let clear = start(&fixed(
        &[plain.address],
        "health_check: {enabled: false}",
        "",
    ))
    .await;
    let at = format!("https://{}/", secure.address());
    let ca = folder.path("site.pem");
    let own = ["--ca", &ca, "--host", "shop.example.com"];
    for (more, protocol) in [
        (&["--insecure"][..], "TLS 1.3, HTTP/2"),
        (
            &["--insecure", "--http", "1", "--churn", "--full-handshakes"],
            "TLS 1.3, HTTP/1.1",
        ),
        (&own, "TLS 1.3, HTTP/2"),
    ] {
        // Handshakes are slow without optimisation.
        let load = [&QUICK[..], &["--rate", "20"], more].concat();
        let (_, found) = figures(&at, &url(clear.address()), &load).await;
        let sides = &found["sides"];
        assert_eq!(sides[0]["protocol"], protocol, "{more:?}");
        assert_eq!(sides[1]["protocol"], "HTTP/1.1", "{more:?}");
        assert!(found["warnings"].to_string().contains("--http chooses"));
        for side in [0, 1] {
            let side = &found["steps"][0]["sides"][side];
            assert_eq!(side["succeeded"], side["due"], "{found:#}");
            assert!(side["due"].as_u64() >= Some(6), "{found:#}");
        }
    }
    // Both with HTTP/2, one by ALPN and one at once.
    let load = [&QUICK[..], &["--insecure", "--http", "2"]].concat();
    let (_, found) = figures(&at, &url(clear.address()), &load).await;
    assert_eq!(found["sides"][1]["protocol"], "HTTP/2");
    let side = &found["steps"][0]["sides"][1];
    assert_eq!(side["succeeded"], side["due"], "{found:#}");
    // Nobody has signed it; it is for another name; there is no TLS; there is only TLS.
    for (a, more, told) in [
        (&at, &[][..], "--ca FILE"),
        (&at, &["--ca", &ca], "--host"),
        (
            &format!("https://{}/", plain.address),
            &["--insecure", "--timeout", "2s"],
            "(else http://)",
        ),
        (&format!("http://{}/", secure.address()), &[], "HTTP"),
    ] {
        let got = compare(&[&[a.as_str(), &url(clear.address())][..], more].concat()).await;
        let (code, out, error) = said(&got);
        let refused = code == 1 && out.is_empty() && error.starts_with("longshore: URL_A: ");
        // A server of TLS may answer plain HTTP with 400, which is an answer.
        assert!(
            refused && error.contains(told) || told == "HTTP",
            "{code} {out}{error}"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place_and_mend() {
    let origin = Origin::ok("").await;
    let (good, dead) = (
        url(origin.address),
        format!("http://127.0.0.1:{}/", free_port()),
    );
    for (arguments, code, told) in [
        (vec![good.as_str(), &good], 2, "--allow-equal"),
        (vec![&good, "nonsense"], 2, "URL_B"),
        (vec![&good, "ftp://127.0.0.1/"], 2, "http:// or https://"),
        (vec![&good], 2, "URL_B"),
        (vec![&good, &dead], 1, "Is something listening on port"),
        (vec![&good, "http://nobody.invalid/"], 1, "nobody.invalid"),
        (vec![&good, &dead, "--rate", "0"], 2, "--rate"),
        (
            vec![&good, &dead, "--json", "/nowhere/x.json"],
            1,
            "--json /nowhere/x.json",
        ),
        (
            vec![&good, &dead, "--html", "/nowhere/x.html"],
            1,
            "--html /nowhere/x.html",
        ),
        (
            vec![&good, "https://127.0.0.1:1/", "--ca", "/nowhere/ca.pem"],
            1,
            "--ca /nowhere/ca.pem",
        ),
        (
            vec![&good, &dead, "--duration", "10m", "--rounds", "100"],
            2,
            "--rounds",
        ),
    ] {
        let got = compare(&arguments).await;
        let (found, out, error) = said(&got);
        assert_eq!((found, out.as_str()), (code, ""), "{arguments:?}: {error}");
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn figures_of_a_generator_that_was_late_are_not_valid() {
    let (a, b) = (Origin::ok("").await, Origin::ok("").await);
    let file = TempFile::new("");
    let path = file.path().to_str().expect("text").to_owned();
    let (at_a, at_b) = (url(a.address), url(b.address));
    let mut process = Process::start(&[
        "compare",
        &at_a,
        &at_b,
        "--rate",
        "50",
        "--duration",
        "2s",
        "--warmup",
        "0s",
        "--rounds",
        "1",
        "--json",
        &path,
    ]);
    longshore_tests::eventually("load", async || (b.seen().len() > 5).then_some(())).await;
    // A quarter of what is due to B is due while the generator does nothing.
    process.signal("STOP");
    tokio::time::sleep(Duration::from_millis(500)).await;
    process.signal("CONT");
    let waiting = tokio::task::spawn_blocking(move || (process.wait(), process));
    let (status, mut process) = waiting.await.expect("waited");
    assert_eq!(status.code(), Some(NOT_VALID));
    process.wait_for_line("the generator did not keep the rate");
    let found: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    assert_eq!(found["is_valid"], false, "{found:#}");
    assert!(
        found["steps"][0]["sides"][1]["late"].as_f64() > Some(0.1),
        "{found:#}"
    );
    let warnings = found["warnings"].to_string();
    assert!(warnings.contains("at 50/s are NOT VALID"), "{warnings}");
}
