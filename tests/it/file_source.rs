//! Targets from a watched file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use longshore_tests::balancer::{Running, start};
use longshore_tests::origin::Origin;
use longshore_tests::process::TempFile;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};

/// A group whose targets are in that file.
fn config(path: &Path) -> String {
    format!(
        "listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups:\n  - name: app\n    discovery: {{file: {{path: '{}', refresh_interval: 100ms}}}}\n    health_check: {{interval: 1, timeout: 1}}\n",
        path.display()
    )
}

/// The shape of Prometheus.
fn list(origins: &[&Origin]) -> String {
    let targets: Vec<String> = origins.iter().map(|it| it.address.to_string()).collect();
    format!("[{{\"targets\": {targets:?}, \"labels\": {{\"zone\": \"a\"}}}}]")
}

/// Another file takes the name of this one.
fn replace(file: &TempFile, text: &str) {
    let mut next = PathBuf::from(file.path());
    next.set_extension("next");
    std::fs::write(&next, text).expect("written");
    std::fs::rename(&next, file.path()).expect("renamed");
}

async fn addresses(balancer: &Running, state: &str) -> Vec<String> {
    let targets = balancer.targets(state).await;
    targets.into_iter().map(|target| target.address).collect()
}

/// Waits until exactly these are healthy.
async fn healthy(balancer: &Running, origins: &[&Origin]) {
    let mut wanted: Vec<String> = origins.iter().map(|it| it.address.to_string()).collect();
    wanted.sort();
    eventually("the targets of the file are healthy", async || {
        let mut found = addresses(balancer, "healthy").await;
        found.sort();
        (found == wanted).then_some(())
    })
    .await;
}

/// Waits until the latest look has failed, and returns why.
async fn failure(balancer: &Running, text: &str) -> String {
    eventually("the failure is shown", async || {
        let group = balancer.group().await;
        let error = group.discovery_error.filter(|it| it.contains(text))?;
        assert_eq!(group.discovery, "stale");
        Some(error)
    })
    .await
}

async fn fresh(balancer: &Running) {
    eventually("the source answers", async || {
        let group = balancer.group().await;
        (group.discovery == "fresh" && group.discovery_error.is_none()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_targets_of_a_file_get_requests_and_what_is_none_is_named() {
    let (a, b) = (Origin::ok("a").await, Origin::ok("b").await);
    let file = TempFile::new(&format!(
        "targets:\n  - {{address: 127.0.0.1, port: {}, zone: z1}}\n  - web.internal:80\n  - 127.0.0.1:{}\n",
        a.address.port(),
        b.address.port()
    ));
    let balancer = start(&config(file.path())).await;
    healthy(&balancer, &[&a, &b]).await;
    let mut client = Wire::connect(balancer.address()).await;
    let mut texts = [client.get("/").await.text(), client.get("/").await.text()];
    texts.sort();
    assert_eq!(texts, ["a", "b"]);

    let group = balancer.group().await;
    assert_eq!((group.source, group.discovery), ("file", "fresh"));
    let id = format!("file/{}", a.address);
    let mut targets = group.targets.iter();
    let target = targets
        .find(|it| it.id == id)
        .expect("known by its address");
    assert_eq!(target.zone.as_deref(), Some("z1"));
    assert_eq!(target.task, None);
    let [problem] = group.not_targets.try_into().expect("one problem");
    assert_eq!(problem.subject, "targets[1]");
    assert!(problem.reason.contains("host names are not resolved"));
}

#[tokio::test]
async fn files_that_replace_each_other_under_load_fail_no_request() {
    let origins = [
        Origin::ok("a").await,
        Origin::ok("b").await,
        Origin::ok("c").await,
    ];
    let file = TempFile::new(&list(&[&origins[0]]));
    let balancer = start(&config(file.path())).await;
    healthy(&balancer, &[&origins[0]]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (stop, asked, address) = (Arc::clone(&stop), Arc::clone(&asked), balancer.address());
        askers.spawn(async move {
            let mut client = Wire::connect(address).await;
            while !stop.load(Ordering::Relaxed) {
                let got = within("an answer", client.get("/")).await;
                assert_eq!(got.status(), 200, "{got:?}");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for round in 1..=6 {
        let now = &origins[round % 3];
        replace(&file, &list(&[now]));
        healthy(&balancer, &[now]).await;
        let (before, since) = (now.seen().len(), asked.load(Ordering::Relaxed));
        eventually("the traffic is at the target of the file", async || {
            let moved = now.seen().len() >= before + 20;
            (moved && asked.load(Ordering::Relaxed) >= since + 20).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = askers.join_next().await {
        ended.expect("each request was answered with 200");
    }
    let seen: usize = origins.iter().map(|origin| origin.seen().len()).sum();
    assert_eq!(
        seen,
        asked.load(Ordering::Relaxed),
        "each reached one target"
    );
}

#[tokio::test]
async fn a_file_that_is_broken_half_written_or_gone_keeps_the_last_good_targets() {
    let (a, b) = (Origin::ok("a").await, Origin::ok("b").await);
    let good = list(&[&a]);
    let file = TempFile::new(&good);
    let balancer = start(&config(file.path())).await;
    healthy(&balancer, &[&a]).await;
    let mut client = Wire::connect(balancer.address()).await;
    let path = file.path().display();
    let cases = [
        (String::new(), "the file is empty; is it half-written?"),
        (good[..good.len() / 2].to_owned(), "not valid YAML"),
        ("targets: []\n  - x: [\n".to_owned(), "not valid YAML"),
        (
            "targets:\n- 127.0.0.1:1".to_owned(),
            "the last line has no end",
        ),
        ("{}".to_owned(), "has no list `targets`"),
        (
            r#"[{"targets": ["web:80"]}]"#.to_owned(),
            "none of its elements is a target",
        ),
    ];
    for (text, what) in cases {
        file.write(&text);
        let error = failure(&balancer, what).await;
        assert!(error.starts_with(&format!("{path}:")), "{error}");
        assert_eq!(client.get("/").await.text(), "a", "{what}");
        assert_eq!(addresses(&balancer, "healthy").await.len(), 1, "{what}");

        file.write(&good);
        fresh(&balancer).await;
    }
    std::fs::remove_file(file.path()).expect("removed");
    failure(&balancer, "there is no such file").await;
    assert_eq!(client.get("/").await.text(), "a");

    replace(&file, &list(&[&b]));
    healthy(&balancer, &[&b]).await;
    assert_eq!(client.get("/").await.text(), "b");
    assert_eq!(balancer.group().await.discovery, "fresh");
}

#[tokio::test]
async fn an_empty_list_takes_all_targets_away_and_nothing_else_does() {
    let a = Origin::ok("a").await;
    let file = TempFile::new(&list(&[&a]));
    let balancer = start(&config(file.path())).await;
    healthy(&balancer, &[&a]).await;
    replace(&file, "[]");
    healthy(&balancer, &[]).await;
    assert_eq!(balancer.group().await.discovery, "fresh");
    let got = Wire::connect(balancer.address()).await.get("/").await;
    assert_eq!(got.status(), 503);
    replace(&file, &list(&[&a]));
    healthy(&balancer, &[&a]).await;
}

#[tokio::test]
async fn a_file_that_comes_after_the_start_is_found() {
    let a = Origin::ok("a").await;
    let file = TempFile::new("");
    std::fs::remove_file(file.path()).expect("removed");
    let balancer = start(&config(file.path())).await;
    failure(&balancer, "there is no such file").await;
    replace(&file, &list(&[&a]));
    healthy(&balancer, &[&a]).await;
    fresh(&balancer).await;
}

#[tokio::test]
async fn another_interval_keeps_the_targets_and_their_verdicts() {
    let a = Origin::ok("a").await;
    let file = TempFile::new(&list(&[&a]));
    let text = config(file.path());
    let mut balancer = start(&text).await;
    healthy(&balancer, &[&a]).await;
    let new = longshore_tests::balancer::config(&text.replace("100ms", "200ms"));
    balancer.balancer.reload(new).await.expect("reloaded");
    assert_eq!(
        addresses(&balancer, "healthy").await,
        [a.address.to_string()]
    );
    replace(&file, "[]");
    healthy(&balancer, &[]).await;
}
