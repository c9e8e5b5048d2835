//! SIGHUP.

use longshore_tests::origin::Origin;
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::wire::Wire;
use longshore_tests::{balancer, eventually, within};

fn text(port: u16, target: &Origin) -> String {
    format!(
        "listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]\n",
        target.address.port()
    )
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_a_good_one_all() {
    let (old, new) = (Origin::ok("old").await, Origin::ok("new").await);
    let port = free_port();
    let config = TempFile::new(&text(port, &old));
    let (mut process, address) = Process::run(&config);
    let mut client = Wire::connect(address).await;
    assert_eq!(client.get("/").await.text(), "old");

    let bad = [
        ("", "the file is empty"),
        ("listeners: [", "not valid YAML"),
        ("listeners: 5", "expected a list"),
        (
            &text(port, &new).replace("app}]", "ap}]"),
            "did you mean \"app\"?",
        ),
        (
            &text(port, &new).replace("name: web", "nam: web"),
            "did you mean `name`?",
        ),
        (&"# x\n".repeat(3_000_000), "larger than 4 MiB"),
    ];
    for (text, message) in bad {
        config.write(text);
        process.signal("HUP");
        process.wait_for_line("the configuration stays as it was");
        if !process.log.last().expect("a line").contains(message) {
            process.wait_for_line(message);
        }
        assert_eq!(client.get("/").await.text(), "old");
    }

    config.write(&text(port, &new));
    process.signal("HUP");
    process.wait_for_line("reloaded");
    assert_eq!(
        client.get("/").await.text(),
        "new",
        "the connection stayed open"
    );
}

#[tokio::test]
async fn listeners_come_and_go_without_touching_the_others() {
    let origin = Origin::ok("ok").await;
    let one = balancer::fixed(&[origin.address], "health_check: {enabled: false}", "");
    let mut running = balancer::start(&one).await;
    let first = running.address();
    let mut client = Wire::connect(first).await;
    assert_eq!(client.get("/").await.status(), 200);

    let mut both = balancer::config(&one.replace(
        "target_groups:",
        "  - {name: second, address: '127.0.0.1:2', default_action: [{type: forward, target_group: app}]}\ntarget_groups:",
    ));
    // The first one is asked for as it was: with the port 0 that stood for a free one.
    both.listeners[1].address = Some(([127, 0, 0, 2], 0).into());
    running.balancer.reload(both).await.expect("reloaded");
    let addresses = running.balancer.addresses();
    assert_eq!(addresses[0].1, first);
    let second = addresses[1].1;
    let mut left_over = Wire::connect(second).await;
    assert_eq!(left_over.get("/").await.status(), 200);

    running
        .balancer
        .reload(balancer::config(&one))
        .await
        .expect("reloaded");
    eventually("the second is gone", async || {
        tokio::net::TcpStream::connect(second)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    // What is still connected there is told once, whatever it sends, and what it sends as a body is
    // no request.
    left_over
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let answer = within("an answer", left_over.response()).await;
    assert_eq!(answer.reason(), Some("listener_removed"));
    assert_eq!(answer.head.get("connection"), Some("close"));
    assert_eq!(within("the end", left_over.rest()).await, b"");
    assert_eq!(
        client.get("/").await.status(),
        200,
        "the first connection is still the same"
    );
}

#[tokio::test]
async fn targets_that_stay_keep_their_verdict_and_those_that_leave_get_nothing() {
    let (a, b) = (Origin::ok("a").await, Origin::ok("b").await);
    let check = "health_check: {path: /, interval: 300, timeout: 5}";
    let mut running = balancer::start(&balancer::fixed(&[a.address], check, "")).await;
    running.wait_for("healthy", 1).await;
    running
        .balancer
        .reload(balancer::config(&balancer::fixed(
            &[a.address, b.address],
            check,
            "",
        )))
        .await
        .expect("reloaded");
    assert!(
        !running.targets("healthy").await.is_empty(),
        "no second first check"
    );
    running.wait_for("healthy", 2).await;
    running
        .balancer
        .reload(balancer::config(&balancer::fixed(&[b.address], check, "")))
        .await
        .expect("reloaded");
    let mut client = Wire::connect(running.address()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "b");
    }
}

#[tokio::test]
async fn a_file_that_changes_is_read_if_the_file_says_so_also_by_another_in_its_place() {
    let (old, new) = (Origin::ok("old").await, Origin::ok("new").await);
    let port = free_port();
    let watched = |target: &Origin| {
        format!(
            "runtime: {{reload_on_change: true}}\n{}",
            text(port, target)
        )
    };
    let config = TempFile::new(&watched(&old));
    let (mut process, address) = Process::run(&config);
    let mut client = Wire::connect(address).await;
    assert_eq!(client.get("/").await.text(), "old");
    config.write("listeners: 5\n");
    process.wait_for_line("the configuration stays as it was");
    assert_eq!(client.get("/").await.text(), "old");
    // As an editor does it, or Kubernetes with a ConfigMap.
    let beside = TempFile::new(&watched(&new));
    std::fs::rename(beside.path(), config.path()).expect("renamed");
    process.wait_for_line("reloaded");
    assert_eq!(client.get("/").await.text(), "new");
    // Without the key it is not watched any more, and SIGHUP counts.
    config.write(&text(port, &old));
    process.wait_for_line("reloaded");
    config.write(&text(port, &new));
    // Some looks, if there were any.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(client.get("/").await.text(), "old");
    process.signal("HUP");
    process.wait_for_line("reloaded");
    assert_eq!(client.get("/").await.text(), "new");
}
