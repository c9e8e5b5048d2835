use std::time::Instant;

use bytes::Bytes;

use super::{Answer, Reply, read};

/// An instance as Consul tells of it, with what is read here.
fn entry(id: &str, address: &str, port: &str, created: u64) -> String {
    format!(
        r#"{{"Node": {{"Node": "n1", "Address": "10.0.0.9", "Meta": {{"zone": "node"}}}},
            "Service": {{"ID": "{id}", "Service": "web", "Address": {address}, "Port": {port}, "CreateIndex": {created}}},
            "Checks": []}}"#
    )
}

fn good() -> String {
    entry("web-1", "\"10.0.0.1\"", "8080", 5)
}

fn reply(body: &str) -> Reply {
    Reply {
        status: 200,
        index: Some("7".to_owned()),
        filtered: false,
        body: Bytes::from(body.to_owned()),
    }
}

fn answer(reply: &Reply) -> Result<Answer, String> {
    read("web", reply, Instant::now())
}

fn shown(answer: &Answer) -> Vec<String> {
    let targets = answer.targets.iter();
    targets
        .map(|target| format!("{} {}", target.key, target.address))
        .collect()
}

fn problems(answer: &Answer) -> Vec<String> {
    let problems = answer.problems.iter();
    problems
        .map(|problem| format!("{}: {}", problem.subject, problem.reason))
        .collect()
}

#[test]
fn an_instance_is_known_by_its_node_and_id_and_is_at_its_own_address_or_its_nodes() {
    let at_node = entry("web-2", "\"\"", "81", 6);
    let with_zone = at_node
        .replace("web-2", "web-3")
        .replace("81,", "82, \"Meta\": {\"zone\": \"own\"},");
    let now = Instant::now();
    let body = format!("[{}, {at_node}, {with_zone}]", good());
    let answer = read("web", &reply(&body), now).expect("understood");
    assert_eq!(answer.index, 7);
    assert_eq!(problems(&answer), [""; 0]);
    assert_eq!(
        shown(&answer),
        [
            "web-1/web:8080 10.0.0.1:8080",
            "web-2/web:81 10.0.0.9:81",
            "web-3/web:82 10.0.0.9:82"
        ]
    );
    let zones: Vec<_> = answer.targets.iter().map(|it| it.zone.as_deref()).collect();
    assert_eq!(zones, [Some("node"), Some("node"), Some("own")]);
    assert_eq!(&*answer.targets[0].key.task, "consul/n1/web-1");
    assert_eq!(answer.targets[0].confirmed_at, now);
}

#[test]
fn an_empty_list_is_no_targets() {
    let answer = answer(&reply("[]")).expect("understood");
    assert!(answer.targets.is_empty() && answer.problems.is_empty());
}

#[test]
fn what_is_no_whole_answer_of_consul_is_a_failure() {
    for (body, what) in [
        ("", "the answer is not valid JSON: EOF"),
        ("null", "the answer is null, not a list"),
        ("{}", "the answer is a mapping, not a list"),
        ("\"[]\"", "the answer is a text, not a list"),
        ("[", "the answer is not valid JSON: EOF"),
        ("<html>", "the answer is not valid JSON"),
        (
            "[null]",
            "none of the instances is a target; [0]: has no Service.ID",
        ),
        (
            "[{}]",
            "none of the instances is a target; [0]: has no Service.ID",
        ),
    ] {
        let error = answer(&reply(body)).expect_err(body);
        assert!(error.starts_with(what), "{error}");
    }
    let body = format!("[{}]", good());
    for end in 0..body.len() {
        answer(&reply(&body[..end])).expect_err("cut");
    }
    for status in [204, 301, 400, 403, 404, 429, 500, 503] {
        let reply = Reply {
            status,
            ..reply("No cluster leader\n")
        };
        let error = answer(&reply).expect_err("no 200");
        assert_eq!(
            error,
            format!("Consul answers {status}: \"No cluster leader\"")
        );
    }
    for index in [None, Some(""), Some("x"), Some("-1")] {
        let reply = Reply {
            index: index.map(ToOwned::to_owned),
            ..reply("[]")
        };
        let error = answer(&reply).expect_err("no index");
        assert!(
            error.starts_with("the answer has no X-Consul-Index"),
            "{error}"
        );
    }
}

#[test]
fn an_answer_that_the_token_cuts_short_is_a_failure() {
    let reply = Reply {
        filtered: true,
        ..reply("[]")
    };
    let error = answer(&reply).expect_err("not whole");
    assert!(error.contains("service:read and node:read"), "{error}");
}

#[test]
fn one_bad_instance_is_a_problem_and_the_others_count() {
    for (bad, reason) in [
        (
            entry("bad", "\"web.local\"", "80", 1),
            "bad: \"web.local\" is not an IP address; host names are not resolved",
        ),
        (
            entry("bad", "\"10.0.0.2\"", "0", 1),
            "bad: 10.0.0.2:0: the port is 0",
        ),
        (
            entry("bad", "\"10.0.0.2\"", "-1", 1),
            "bad: has no Service.Port from 1 to 65535",
        ),
        (
            entry("bad", "\"10.0.0.2\"", "65536", 1),
            "bad: has no Service.Port",
        ),
        (
            entry("bad", "\"10.0.0.2\"", "\"80\"", 1),
            "bad: has no Service.Port",
        ),
        (
            entry("bad", "\"0.0.0.0\"", "80", 1),
            "stands for all addresses of a host",
        ),
        (
            entry("bad", "17", "80", 1).replace("10.0.0.9", "host"),
            "\"host\" is not an IP address",
        ),
        (
            entry("bad", "\"10.0.0.2\"", "80", 1).replace("\"Node\": \"n1\"", "\"x\": 1"),
            "bad: has no Node.Node",
        ),
        ("17".to_owned(), "[1]: has no Service.ID"),
    ] {
        let body = format!("[{}, {bad}]", good());
        let answer = answer(&reply(&body)).expect("understood");
        assert_eq!(shown(&answer), ["web-1/web:8080 10.0.0.1:8080"]);
        let [problem] = problems(&answer).try_into().expect("one problem");
        assert!(problem.contains(reason), "{problem}");
    }
}

#[test]
fn of_two_instances_at_one_address_the_later_one_is_there() {
    let newer = entry("new", "\"10.0.0.1\"", "8080", 6);
    for body in [
        format!("[{}, {newer}]", good()),
        format!("[{newer}, {}]", good()),
    ] {
        let answer = answer(&reply(&body)).expect("understood");
        assert_eq!(shown(&answer), ["new/web:8080 10.0.0.1:8080"]);
        assert_eq!(
            problems(&answer),
            ["web-1: 10.0.0.1:8080 is that of new/web:8080 too, which was registered later"]
        );
    }
}
