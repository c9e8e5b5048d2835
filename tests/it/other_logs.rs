//! The logs of client connections and of health checks.

use longshore_tests::balancer::{self, fixed};
use longshore_tests::certificates::{Folder, Key, curl};
use longshore_tests::origin::{Origin, response};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::wire::Wire;
use longshore_tests::{admin, eventually, within};
use regex::Regex;

use super::access_log::{Place, lines};

/// ALB's fifteen fields (user guide, "Connection log entries"), and ours behind them.
const CONNECTION: &str = r#"^(\S+) (\S+) (\d+) (\d+) (\S+) (\S+) (\S+) "([^"]*)" (\S+) (\S+) (\S+) (TID_[0-9a-f]{32}) (\S+) (\S+) (\S+) "([^"]*)"$"#;

/// What a curl with that certificate gets. Empty: without one.
async fn ask(address: std::net::SocketAddr, folder: &Folder, name: &str) -> bool {
    let (cert, key) = (
        folder.path(&format!("{name}.pem")),
        folder.path(&format!("{name}.key")),
    );
    let with = !name.is_empty();
    let work = move || {
        let own = ["-k", "--cert", cert.as_str(), "--key", key.as_str()];
        curl(
            address,
            "site.test",
            if with { &own[..] } else { &own[..1] },
        )
    };
    tokio::task::spawn_blocking(work).await.expect("it ends").1
}

#[tokio::test]
async fn each_connection_has_a_line_and_a_refused_client_the_reason() {
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    folder.authority("ca");
    folder.authority("stranger");
    folder.issue("ca", "good", "/C=DE/O=Acme/CN=good", "clientAuth", 30);
    folder.issue("ca", "expired", "/CN=expired", "clientAuth", -1);
    folder.issue("stranger", "unknown", "/CN=unknown", "clientAuth", 30);
    let place = Place::new("connections");
    let origin = Origin::ok("hello").await;
    let (cert, key, ca) = (
        folder.path("site.pem"),
        folder.path("site.key"),
        folder.path("ca.pem"),
    );
    let action = "default_action: [{type: forward, target_group: app}]";
    let text = format!(
        "admin: {{address: '127.0.0.1:2'}}
load_balancer: {{connection_logs: {{path: '{}'}}}}
listeners:
  - {{name: secure, address: '127.0.0.1:1', protocol: HTTPS, certificates: [{{cert: {cert}, key: {key}}}], mutual_authentication: {{mode: verify, trust_store: [{ca}]}}, {action}}}
  - {{name: web, address: '127.0.0.2:1', {action}}}
target_groups:
  - {{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}
",
        place.0.display(),
        origin.address.port()
    );
    let running = balancer::start(&text).await;
    let addresses = running.balancer.addresses();
    let (secure, web) = (addresses[0].1, addresses[1].1);
    let athena = Regex::new(CONNECTION).expect("valid");
    let mut count = 0;
    let mut next = async || {
        count += 1;
        let all = lines(&place, count).await;
        let line = all.last().expect("a line").clone();
        assert_eq!(all.len(), count, "{all:?}");
        let read = athena.captures(&line).unwrap_or_else(|| panic!("{line}"));
        (0..17)
            .map(|at| read[at].to_owned())
            .collect::<Vec<String>>()
    };
    assert!(ask(secure, &folder, "good").await);
    let line = next().await;
    assert_eq!(line[2], "127.0.0.1");
    assert_eq!(line[4], secure.port().to_string());
    assert_eq!(line[5], "TLSv1.3");
    assert!(line[6].starts_with("TLS_"), "{line:?}");
    assert!(line[7].parse::<f64>().expect("seconds") >= 0.0);
    assert_eq!(line[8], "CN=good,O=Acme,C=DE");
    assert!(line[9].starts_with("NotBefore=20") && line[9].contains(";NotAfter=20"));
    assert_eq!(
        (line[11].as_str(), line[14].as_str()),
        ("Success", "secure")
    );
    assert_ne!(line[13], "-", "the key exchange");
    assert_eq!((line[15].as_str(), line[16].as_str()), ("127.0.0.1", "-"));
    for (name, verdict) in [
        ("expired", "Failed:ClientCertExpired"),
        ("unknown", "Failed:ClientCertUntrusted"),
        ("", "Failed:UnmappedConnectionError"),
    ] {
        assert!(!ask(secure, &folder, name).await, "{name}");
        let line = next().await;
        assert_eq!(
            (line[5].as_str(), line[11].as_str()),
            ("-", verdict),
            "{line:?}"
        );
        assert!(line[16].len() > 5, "{line:?}");
    }
    let mut plain = Wire::connect(web).await;
    assert_eq!(plain.get("/").await.status(), 200);
    let line = next().await;
    assert_eq!((line[5].as_str(), line[11].as_str()), ("-", "-"));
    assert_eq!((line[14].as_str(), line[16].as_str()), ("web", "-"));
    // Its identifier is that of the access log, so that the two go together.
    let at = running.balancer.admin_address().expect("it has one");
    eventually(
        "the request is noted with the connection's identifier",
        async || {
            let requests = admin::get(at, "/requests").await.text();
            requests.contains(&line[12]).then_some(())
        },
    )
    .await;
    let series = "longshore_connection_log_lines_total{result=\"written\"}";
    assert_eq!(admin::figure(at, series).await, Some(5.0));
}

#[tokio::test]
async fn a_connection_for_which_there_is_no_room_has_a_line_with_the_reason() {
    let place = Place::new("shed");
    let origin = Origin::ok("hello").await;
    let top = format!(
        "runtime: {{max_connections_per_source: 1}}\nload_balancer: {{connection_logs: {{path: '{}'}}}}",
        place.0.display()
    );
    let text = fixed(&[origin.address], "health_check: {enabled: false}", &top);
    let running = balancer::start(&text).await;
    let mut first = Wire::connect(running.address()).await;
    assert_eq!(first.get("/").await.status(), 200);
    let got = Wire::connect(running.address()).await.get("/").await;
    assert_eq!(got.status(), 503);
    let athena = Regex::new(CONNECTION).expect("valid");
    let lines = lines(&place, 2).await;
    let mut ends: Vec<&str> = lines
        .iter()
        .map(|line| athena.captures(line).unwrap_or_else(|| panic!("{line}")))
        .map(|read| read.get(16).map_or("", |it| it.as_str()))
        .collect();
    // Two workers may have written them, each when it came to it.
    ends.sort_unstable();
    assert_eq!(ends, ["-", "source_connection_limit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_health_check_has_a_line_with_its_end() {
    let place = Place::new("checks");
    let well = Origin::http(|_| response(200, "fine")).await;
    let badly = Origin::http(|_| response(503, "")).await;
    let wrong = Origin::http(|_| response(200, "other")).await;
    let nobody: std::net::SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let (port, admin) = (free_port(), free_port());
    let all = [well.address, badly.address, wrong.address, nobody];
    let text = fixed(
        &all,
        "health_check: {path: /h, interval: 1, timeout: 1, body: {contains: fine}}",
        &format!(
            "admin: {{address: '127.0.0.1:{admin}'}}\nload_balancer: {{health_check_logs: {{path: '{}'}}}}",
            place.0.display()
        ),
    );
    let file = TempFile::new(&text.replace("127.0.0.1:1\n", &format!("127.0.0.1:{port}\n")));
    let (mut process, _) = Process::run(&file);
    let line = Regex::new(r"^(\S+) (\S+Z) (\d+\.\d{9}) (\S+) (\S+) (PASS|FAIL) (\S+) (\S+) - -$");
    let line = line.expect("valid");
    for (address, end) in [
        (well.address, ["PASS", "200", "-"]),
        (badly.address, ["FAIL", "503", "TargetError"]),
        (wrong.address, ["FAIL", "200", "ResponseStringMismatch"]),
        (nobody, ["FAIL", "-", "ConnectionReset"]),
    ] {
        let found = eventually("its check is in the log", async || {
            let lines = place.lines();
            let address = format!(" {address} ");
            // A busy machine may let one take too long.
            let mut lines = lines.into_iter();
            lines.find(|line| line.contains(&address) && !line.contains("TimedOut"))
        })
        .await;
        let read = line.captures(&found).unwrap_or_else(|| panic!("{found}"));
        assert_eq!((&read[1], &read[5]), ("http", "app"), "{found}");
        assert_eq!([&read[6], &read[7], &read[8]], end, "{found}");
    }
    process.signal("TERM");
    within("its end", async { assert!(process.wait().success()) }).await;
}
