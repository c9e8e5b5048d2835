//! A client stays at its target: which cookies are set, how long they mean something, and which
//! process understands them.

use std::time::{Duration, Instant};

use longshore_tests::balancer::{self, Running, config, fixed, start};
use longshore_tests::jar::{Jar, set_cookies};
use longshore_tests::origin::{Origin, Seen, response};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::wire::Wire;
use longshore_tests::within;

const UNCHECKED: &str = "health_check: {enabled: false}";
const KEY_1: &str = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";
const KEY_2: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Three targets that answer with their names.
async fn three() -> Vec<Origin> {
    let mut origins = Vec::new();
    for name in ["a", "b", "c"] {
        origins.push(Origin::ok(name).await);
    }
    origins
}

/// The text of a balancer with one worker, before these targets.
fn text(origins: &[Origin], stickiness: &str, keys: &[&str]) -> String {
    let targets: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let group = format!("{UNCHECKED}\nstickiness: {{{stickiness}}}");
    let top = format!(
        "runtime: {{workers: 1, cookie_keys: [{}]}}",
        keys.join(", ")
    );
    fixed(&targets, &group, &top)
}

/// Which targets requests with these cookies reach, that are not renewed.
async fn reached(address: std::net::SocketAddr, jar: &Jar, count: usize) -> Vec<String> {
    let mut reached = Vec::new();
    for _ in 0..count {
        reached.push(jar.clone().visit(address, "/").await.text());
    }
    reached.sort();
    reached.dedup();
    reached
}

#[tokio::test]
async fn a_client_with_cookies_stays_at_its_target_and_others_do_not() {
    let origins = three().await;
    let balancer = start(&text(&origins, "enabled: true", &[])).await;
    let mut first = Vec::new();
    for _ in 0..3 {
        let mut jar = Jar::default();
        let target = jar.visit(balancer.address(), "/").await.text();
        for _ in 0..10 {
            let got = jar.visit(balancer.address(), "/").await;
            assert_eq!(got.text(), target);
            assert_eq!(set_cookies(&got).len(), 2, "renewed by each response");
        }
        first.push(target);
    }
    first.sort();
    assert_eq!(first, ["a", "b", "c"], "clients without cookies take turns");
    let none = Jar::default();
    assert_eq!(reached(balancer.address(), &none, 6).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn the_cookies_are_albs_and_reach_the_target_as_they_came() {
    let origins = three().await;
    let balancer = start(&text(&origins, "enabled: true", &[])).await;
    let mut jar = Jar::default();
    jar.0.insert("mine".to_owned(), "1".to_owned());
    let got = jar.visit(balancer.address(), "/").await;
    let lines = set_cookies(&got);
    let week = Duration::from_secs(7 * 24 * 3600);
    let dates: Vec<String> = [0, 1, 2]
        .map(|ago| longshore::clock::wall() + week - Duration::from_secs(ago))
        .map(|at| String::from_utf8(longshore::clock::http_date(at).to_vec()).expect("text"))
        .into();
    let value = jar.0["AWSALB"].clone();
    assert_eq!(jar.0["AWSALBCORS"], value);
    assert!(
        value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    let plain = |date: &String| format!("AWSALB={value}; Expires={date}; Path=/");
    let cors = |date: &String| format!("AWSALBCORS={value}; Expires={date}; Path=/; SameSite=None");
    assert!(
        dates.iter().any(|date| lines == [plain(date), cors(date)]),
        "{lines:?}"
    );

    let sent = jar.header();
    let target = jar.visit(balancer.address(), "/").await.text();
    let origin = &origins[usize::from(target.as_bytes()[0] - b'a')];
    let seen = origin.seen();
    let last = seen.last().expect("a request");
    assert_eq!(last.head.get("cookie"), Some(sent.as_str()));
}

#[tokio::test]
async fn every_response_of_a_target_sets_the_cookies_and_no_answer_of_our_own() {
    let origin = Origin::http(|request: &Seen| {
        if request.head.line.contains("/304") {
            b"HTTP/1.1 304 X\r\n\r\n".to_vec()
        } else if request.head.line.contains("/500") {
            response(500, "")
        } else if request.head.line.contains("/103") {
            let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{last}").into_bytes()
        } else if request.head.line.contains("/bad") {
            b"nonsense\r\n\r\n".to_vec()
        } else {
            response(200, "")
        }
    })
    .await;
    let origins = [origin];
    let balancer = start(&text(&origins, "enabled: true", &[])).await;
    let mut client = Wire::connect(balancer.address()).await;
    for path in ["/", "/304", "/500"] {
        let got = client.get(path).await;
        assert_eq!(set_cookies(&got).len(), 2, "{path}");
    }
    client.send("GET /103 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let interim = client.response().await;
    assert_eq!((interim.status(), set_cookies(&interim).len()), (103, 0));
    let last = client.response().await;
    assert_eq!((last.status(), set_cookies(&last).len()), (200, 2));
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = within("a head", client.head()).await.expect("a head");
    let set = head.fields.iter().filter(|(name, _)| name == "set-cookie");
    assert_eq!(set.count(), 2);
    let got = Wire::connect(balancer.address()).await.get("/bad").await;
    assert_eq!((got.status(), set_cookies(&got).len()), (502, 0));
    let got = Wire::connect(balancer.address())
        .await
        .get("nonsense")
        .await;
    assert_eq!((got.status(), set_cookies(&got).len()), (400, 0));
}

#[tokio::test]
async fn without_stickiness_there_are_no_cookies_and_old_ones_mean_nothing() {
    let origins = three().await;
    let on = text(&origins, "enabled: true", &[KEY_1]);
    let mut balancer = start(&on).await;
    let mut jar = Jar::default();
    jar.visit(balancer.address(), "/").await;
    assert_eq!(reached(balancer.address(), &jar, 6).await.len(), 1);
    let off = config(&on.replace("enabled: true", "enabled: false"));
    balancer.balancer.reload(off).await.expect("reloaded");
    let got = jar.clone().visit(balancer.address(), "/").await;
    assert!(set_cookies(&got).is_empty());
    assert_eq!(reached(balancer.address(), &jar, 6).await.len(), 3);
}

#[tokio::test]
async fn a_stay_ends_with_its_duration_and_not_before() {
    let origins = three().await;
    let balancer = start(&text(&origins, "enabled: true, cookie_duration: 2s", &[])).await;
    let mut jar = Jar::default();
    let begin = Instant::now();
    jar.visit(balancer.address(), "/").await;
    let before = reached(balancer.address(), &jar, 6).await;
    // On a machine that stood still for two seconds there is nothing to be said.
    if begin.elapsed() < Duration::from_secs(2) {
        assert_eq!(before.len(), 1, "{before:?}");
    }
    // The time itself is what is tested.
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    assert_eq!(reached(balancer.address(), &jar, 6).await.len(), 3);
}

#[tokio::test]
async fn a_client_that_comes_again_in_time_stays_for_longer_than_the_duration() {
    let origins = three().await;
    let balancer = start(&text(&origins, "enabled: true, cookie_duration: 2s", &[])).await;
    let mut jar = Jar::default();
    let target = jar.visit(balancer.address(), "/").await.text();
    let (begin, mut last) = (Instant::now(), Instant::now());
    let mut late = 0;
    while begin.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let got = jar.visit(balancer.address(), "/").await.text();
        late += usize::from(last.elapsed() >= Duration::from_secs(2));
        assert!(
            late > 0 || got == target,
            "{got} after {:?}",
            begin.elapsed()
        );
        last = Instant::now();
    }
}

#[tokio::test]
async fn an_application_session_begins_when_the_target_sets_its_cookie() {
    let mut origins = Vec::new();
    for name in ["a", "b", "c"] {
        let set = format!(
            "HTTP/1.1 200 OK\r\nSet-Cookie: SID=1; Path=/\r\nContent-Length: 1\r\n\r\n{name}"
        );
        origins.push(
            Origin::http(move |request: &Seen| {
                if request.head.line.contains("/login") {
                    set.clone().into_bytes()
                } else {
                    response(200, name)
                }
            })
            .await,
        );
    }
    let app = "enabled: true, type: app_cookie, cookie_name: SID, cookie_duration: 2s";
    let balancer = start(&text(&origins, app, &[])).await;
    let mut jar = Jar::default();
    for _ in 0..3 {
        jar.visit(balancer.address(), "/").await;
        assert_eq!(jar, Jar::default(), "no application cookie, none of ours");
    }
    let begin = Instant::now();
    let got = jar.visit(balancer.address(), "/login").await;
    let target = got.text();
    let lines = set_cookies(&got);
    assert_eq!(lines[0], "SID=1; Path=/");
    assert!(lines[1].starts_with("AWSALBAPP-0=") && lines[1].ends_with("; Path=/"));
    assert_eq!(lines.len(), 2);
    let both = reached(balancer.address(), &jar, 6).await;
    let stayed = jar.clone().visit(balancer.address(), "/").await;
    if begin.elapsed() < Duration::from_secs(2) {
        assert_eq!(both, [target]);
        assert_eq!(set_cookies(&stayed).len(), 1, "renewed");
    }
    for missing in ["SID", "AWSALBAPP-0"] {
        let mut one = jar.clone();
        one.0.remove(missing);
        let got = reached(balancer.address(), &one, 6).await;
        assert_eq!(got, ["a", "b", "c"], "without {missing}");
    }
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    assert_eq!(reached(balancer.address(), &jar, 6).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn replicas_and_restarts_with_the_same_key_know_each_others_clients() {
    let origins = three().await;
    let here = text(&origins, "enabled: true", &[KEY_1]);
    // The other one has its targets in another order, and more keys.
    let mut reversed = origins;
    reversed.reverse();
    let there = text(&reversed, "enabled: true", &[KEY_2, KEY_1]);
    let (one, two) = (start(&here).await, start(&there).await);
    let mut kept = Vec::new();
    for _ in 0..6 {
        let mut jar = Jar::default();
        let target = jar.visit(one.address(), "/").await.text();
        assert_eq!(reached(two.address(), &jar, 3).await, [target.as_str()]);
        kept.push((jar, target));
    }
    one.balancer.drain().await;
    let again = start(&here).await;
    for (jar, target) in &mut kept {
        assert_eq!(jar.visit(again.address(), "/").await.text(), *target);
    }
}

#[tokio::test]
async fn without_a_key_another_process_does_not_know_the_cookies_and_a_reload_does() {
    let origins = three().await;
    let without = text(&origins, "enabled: true", &[]);
    let (mut one, two) = (start(&without).await, start(&without).await);
    let mut jar = Jar::default();
    let target = jar.visit(one.address(), "/").await.text();
    assert_eq!(reached(two.address(), &jar, 6).await, ["a", "b", "c"]);
    one.balancer
        .reload(config(&without))
        .await
        .expect("reloaded");
    assert_eq!(reached(one.address(), &jar, 6).await, [target]);
}

#[tokio::test]
async fn keys_are_rotated_by_reloads_without_moving_a_client() {
    let origins = three().await;
    let with = |keys: &[&str]| config(&text(&origins, "enabled: true", keys));
    let mut balancer = start(&text(&origins, "enabled: true", &[KEY_1])).await;
    let mut old = Jar::default();
    let target = old.visit(balancer.address(), "/").await.text();
    let mut client = old.clone();
    // First every replica learns to open the new one, then it seals, then the old one goes.
    for keys in [[KEY_1, KEY_2].as_slice(), &[KEY_2, KEY_1], &[KEY_2]] {
        balancer
            .balancer
            .reload(with(keys))
            .await
            .expect("reloaded");
        let got = client.visit(balancer.address(), "/").await.text();
        assert_eq!(got, target, "{keys:?}");
    }
    assert_eq!(
        reached(balancer.address(), &old, 6).await.len(),
        3,
        "sealed with the old key"
    );
}

#[tokio::test]
async fn a_process_without_keys_says_what_that_means() {
    let origin = Origin::ok("a").await;
    let port = free_port();
    let text = |runtime: &str| {
        fixed(
            &[origin.address],
            "health_check: {enabled: false}\nstickiness: {enabled: true}",
            runtime,
        )
        .replace("127.0.0.1:1\n", &format!("127.0.0.1:{port}\n"))
    };
    let file = TempFile::new(&text(""));
    let mut process = Process::start(&["run", "-c", file.path().to_str().expect("text")]);
    process.wait_for_line("`runtime.cookie_keys` is not set");
    process.wait_for_line("listening ");
    drop(process);
    let file = TempFile::new(&text(&format!("runtime: {{cookie_keys: [{KEY_1}]}}")));
    let (process, _) = Process::run(&file);
    assert!(
        !process.log.iter().any(|line| line.contains("cookie_keys")),
        "{:?}",
        process.log
    );
    assert!(!process.log.iter().any(|line| line.contains(KEY_1)));
}

/// A balancer with two groups of three targets each on two paths.
async fn two_groups(app: &[Origin], other: &[Origin]) -> Running {
    let list = |origins: &[Origin]| {
        let targets = origins.iter().map(|origin| {
            format!(
                "{{address: {}, port: {}}}",
                origin.address.ip(),
                origin.address.port()
            )
        });
        targets.collect::<Vec<_>>().join(", ")
    };
    let text = format!(
        "runtime: {{workers: 1}}
listeners:
  - name: web
    address: 127.0.0.1:1
    default_action: [{{type: forward, target_group: app}}]
    rules: [{{priority: 1, condition: [{{path_pattern: {{values: [/other]}}}}], action: [{{type: forward, target_group: other}}]}}]
target_groups:
  - {{name: app, targets: [{}], health_check: {{enabled: false}}, stickiness: {{enabled: true}}}}
  - {{name: other, targets: [{}], health_check: {{enabled: false}}, stickiness: {{enabled: true}}}}
",
        list(app),
        list(other),
    );
    balancer::start(&text).await
}

#[tokio::test]
async fn a_client_keeps_its_place_in_each_group_that_it_visits() {
    let (app, other) = (three().await, three().await);
    let balancer = two_groups(&app, &other).await;
    for _ in 0..3 {
        let mut jar = Jar::default();
        let first = jar.visit(balancer.address(), "/").await.text();
        let second = jar.visit(balancer.address(), "/other").await.text();
        for _ in 0..5 {
            assert_eq!(jar.visit(balancer.address(), "/").await.text(), first);
            assert_eq!(jar.visit(balancer.address(), "/other").await.text(), second);
        }
    }
}

#[tokio::test]
async fn whatever_a_cookie_says_the_request_reaches_a_target_of_its_group() {
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};
    let seed = 23;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let (app, other) = (three().await, three().await);
    let balancer = two_groups(&app, &other).await;
    let mut jars = [Jar::default(), Jar::default()];
    jars[0].visit(balancer.address(), "/").await;
    jars[1].visit(balancer.address(), "/other").await;
    let valid: Vec<Vec<u8>> = jars
        .iter()
        .map(|jar| jar.0["AWSALB"].clone().into_bytes())
        .collect();
    let mut client = Wire::connect(balancer.address()).await;
    let requests = 1_000;
    for number in 0..requests {
        let mut value = valid[rng.random_range(0..2)].clone();
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..value.len());
            // What may stand in a field: RFC 9110 §5.5.
            value[at] = *b"AZaz09-_;=\", \t%+/\x80\xff"
                .get(rng.random_range(0..19_usize))
                .expect("one of 19");
        }
        value.truncate(rng.random_range(1..=value.len()));
        let field: Vec<u8> = match rng.random_range(0..5) {
            0 => [b"Cookie: AWSALB=".as_slice(), &value].concat(),
            1 => [b"Cookie: a=b;AWSALBCORS=".as_slice(), &value].concat(),
            2 => [
                b"Cookie: AWSALB=\"".as_slice(),
                &value,
                b"\"; AWSALB=",
                &value,
            ]
            .concat(),
            3 => [
                b"cookie: x\r\nCookie: AWSALB=".as_slice(),
                &value,
                b"\r\nCOOKIE:;",
            ]
            .concat(),
            _ => {
                let many = [b"AWSALB=".as_slice(), &value, b";"].concat();
                // Longer lines than 16 KiB are refused, whatever they say.
                let most = 16_000 / many.len();
                let count = rng.random_range(1..=most.min(200));
                [b"Cookie: ".as_slice(), &many.repeat(count)].concat()
            }
        };
        let request = [
            b"GET / HTTP/1.1\r\nHost: a\r\n".as_slice(),
            &field,
            b"\r\n\r\n",
        ]
        .concat();
        client.send(&request).await;
        let got = within("a response", client.response()).await;
        assert_eq!(got.status(), 200, "{number}: {}", field.escape_ascii());
        assert_eq!(set_cookies(&got).len(), 2, "{number}");
    }
    assert!(
        other
            .iter()
            .map(|origin| origin.seen().len())
            .sum::<usize>()
            == 1
    );
    let reached: usize = app.iter().map(|origin| origin.seen().len()).sum();
    assert_eq!(reached, requests + 1);
}
