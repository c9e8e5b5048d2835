//! The page, the manual, and a run that is ended early.

use super::*;

#[tokio::test]
async fn the_page_is_whole_and_loads_nothing_and_nothing_but_the_table_is_printed() {
    let (a, b) = (Origin::ok("").await, Origin::ok("").await);
    let page = TempFile::new("");
    let path = page.path().to_str().expect("text");
    let urls = [url(a.address), url(b.address) + "?a=<b>"];
    let load = [&QUICK[..], &["--html", path, "--steps", "50,100"]].concat();
    let load: Vec<&str> = load
        .into_iter()
        .filter(|text| !["--rate", "100"].contains(text))
        .collect();
    let got = compare(&[&[urls[0].as_str(), &url(b.address)][..], &load].concat()).await;
    let (code, out, error) = said(&got);
    assert!(code == 0 || code == NOT_VALID, "{error}");
    // No progress where there is no terminal.
    assert!(!error.contains('\r') && !error.contains('%'), "{error}");
    for row in ["p50", "p90", "p99", "p99.9", "B ADDS", "LCU", "seed"] {
        assert!(out.contains(row), "{out}");
    }
    let html = std::fs::read_to_string(path).expect("written");
    assert!(
        html.starts_with("<!doctype html>") && html.ends_with("</html>\n"),
        "{html}"
    );
    assert!(html.matches("<svg").count() >= 7);
    // The only addresses in it are those that were measured, as text.
    let text = html
        .replace(&url(a.address), "")
        .replace(&url(b.address), "");
    for foreign in [
        "http:", "https:", "src=", "href=", "url(", "@import", "<script",
    ] {
        assert!(!text.contains(foreign), "{foreign}");
    }
}

#[tokio::test]
async fn the_examples_of_the_manual_run_as_they_stand() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let page = std::fs::read_to_string(root.join("docs/src/compare.md")).expect("a page");
    let (a, b) = (Origin::ok("hello").await, Origin::ok("hello").await);
    let folder = Folder::default();
    folder.make("site", &["shop.example.com"], Key::Ecdsa, 30);
    std::fs::create_dir_all(folder.path("certs")).expect("made");
    std::fs::copy(folder.path("site.pem"), folder.path("certs/site.pem")).expect("copied");
    let (secure, _origin) = https(&folder, "site", "").await;
    let (other, _more) = https(&folder, "site", "").await;
    let mut count = 0;
    let blocks = page.split("\n```sh\n").skip(1);
    for block in blocks.filter_map(|rest| rest.split("\n```").next()) {
        let block = block.replace("\\\n", " ");
        for line in block
            .lines()
            .filter_map(|line| line.strip_prefix("longshore "))
        {
            // The addresses of the page are those of the test here, and load is little and short.
            let line = line
                .replace(
                    "https://127.0.0.1:8443",
                    &format!("https://{}", secure.address()),
                )
                .replace(
                    "https://127.0.0.1:9443",
                    &format!("https://{}", other.address()),
                )
                .replace(
                    "http://127.0.0.1:8080",
                    url(a.address).trim_end_matches('/'),
                )
                .replace(
                    "http://127.0.0.1:9090",
                    url(b.address).trim_end_matches('/'),
                )
                .replace(
                    "https://alb.example.com",
                    &format!("https://{}", secure.address()),
                )
                .replace(
                    "https://longshore.example.com",
                    &format!("https://{}", other.address()),
                );
            let short = [
                "--duration",
                "200ms",
                "--warmup",
                "0s",
                "--rounds",
                "2",
                "--insecure",
            ];
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let insecure = !line.contains("--ca");
            let place = folder.path("");
            let got = tokio::task::spawn_blocking(move || {
                std::process::Command::new(longshore_tests::process::binary())
                    .args(&words)
                    .args(if insecure { &short[..] } else { &short[..6] })
                    .current_dir(place)
                    .output()
                    .expect("runs")
            });
            let (code, out, error) = said(&got.await.expect("runs"));
            assert!(
                code == 0 || code == NOT_VALID,
                "{line}: {code}\n{out}{error}"
            );
            count += 1;
        }
    }
    assert!(count >= 6, "{count} examples");
}

#[tokio::test]
async fn what_was_measured_before_ctrl_c_is_shown() {
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
        "200ms",
        "--warmup",
        "0s",
        "--rounds",
        "100",
        "--json",
        &path,
    ]);
    longshore_tests::eventually("some rounds are over", async || {
        (b.seen().len() > 40).then_some(())
    })
    .await;
    process.signal("INT");
    let status = tokio::task::spawn_blocking(move || process.wait())
        .await
        .expect("waited");
    assert!(
        [Some(0), Some(NOT_VALID)].contains(&status.code()),
        "{status}"
    );
    let found: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    let rounds = found["rounds"].as_u64().expect("a number");
    assert!((1..100).contains(&rounds), "{found:#}");
}
