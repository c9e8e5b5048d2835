use super::*;
use crate::parse;

fn block(keys: &str) -> LabelDiscovery {
    let text = format!(
        "listeners:
  - {{name: web, port: 80, default_action: [{{type: fixed_response, fixed_response: {{status_code: 404}}}}]}}
  - {{name: inner, port: 81, default_action: [{{type: fixed_response, fixed_response: {{status_code: 404}}}}]}}
label_discovery:
  - {{name: prod, ecs: {{cluster: prod}}, listeners: [web, inner]{keys}}}
"
    );
    let config = parse("test", &text, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let mut blocks = config.label_discovery.into_iter();
    blocks.next().expect("one")
}

fn labels(text: &str) -> Labels {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pairs = lines.filter_map(|line| line.split_once(": "));
    pairs
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .collect()
}

fn read(text: &str) -> Result<Exposure, String> {
    block("")
        .read(&labels(text), "app", None)
        .map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            faults.join("\n")
        })
}

#[test]
fn labels_say_what_a_file_would() {
    let by_labels = read(
        "longshore.enable: true
        longshore.port: 8080
        longshore.target_group: shop
        longshore.listeners: web
        longshore.rule.priority: 10
        longshore.rule.host_header: shop.example.com, *.shop.example.com
        longshore.rule.path_pattern.regex_values: ^/v[1,2]/
        longshore.rule.http_request_method: GET,HEAD
        longshore.rule.http_header.x-env: live
        longshore.rule.query_string: debug=1,trace
        longshore.rule.source_ip: 10.0.0.0/8
        longshore.rule.url_rewrite.regex: ^/v1
        longshore.rule.url_rewrite.replace: /
        longshore.deregistration_delay: 10
        longshore.slow_start: 30s
        longshore.load_balancing_algorithm_type: least_outstanding_requests
        longshore.stickiness.enabled: true
        longshore.stickiness.type: app_cookie
        longshore.stickiness.cookie_name: SESSION
        longshore.health_check.path: /health
        longshore.health_check.interval: 5
        longshore.health_check.timeout: 500ms
        longshore.health_check.matcher: 200-299",
    )
    .unwrap_or_else(|faults| panic!("{faults}"));
    let by_file = parse(
        "test",
        "listeners:
  - name: web
    port: 80
    default_action: [{type: forward, target_group: shop}]
    rules:
      - priority: 10
        condition:
          - host_header: {values: [shop.example.com, '*.shop.example.com']}
          - http_header: {http_header_name: x-env, values: [live]}
          - http_request_method: {values: [GET, HEAD]}
          - path_pattern: {regex_values: ['^/v[1,2]/']}
          - query_string: [{key: debug, value: '1'}, {value: trace}]
          - source_ip: {values: [10.0.0.0/8]}
        action: [{type: forward, target_group: shop}]
        transform: [{type: url_rewrite, url_rewrite_config: {rewrite: {regex: ^/v1, replace: /}}}]
target_groups:
  - name: shop
    deregistration_delay: 10
    slow_start: 30s
    load_balancing_algorithm_type: least_outstanding_requests
    stickiness: {enabled: true, type: app_cookie, cookie_name: SESSION}
    health_check: {path: /health, interval: 5, timeout: 500ms, matcher: 200-299}
",
        &|_| None,
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(by_labels.group, by_file.target_groups[0]);
    assert_eq!(by_labels.rules[0].rule, by_file.listeners[0].rules[0]);
    assert!(by_labels.rules[0].numbered);
    assert_eq!(by_labels.listeners, ["web"]);
}

#[test]
fn several_rules_have_names_and_a_rule_needs_no_number() {
    let all = read(
        "longshore.rules.api.path_pattern: /api/*
        longshore.rules.web.path_pattern: /\\,a,/b
        longshore.rules.web.priority: 7",
    )
    .unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(all.group.name, "app");
    assert_eq!(all.listeners, ["inner", "web"]);
    let numbered: Vec<bool> = all.rules.iter().map(|rule| rule.numbered).collect();
    assert_eq!(numbered, [false, true]);
    let path = all.rules[1].rule.condition[0].path_pattern.as_ref();
    assert_eq!(path.expect("there").values, ["/,a", "/b"]);
    assert_eq!((all.rules[0].length, all.rules[1].length), (6, 5));
}

#[test]
fn each_fault_names_its_label_and_its_mend() {
    let good = "longshore.rule.path_pattern: /*\n";
    let cases = [
        (
            "longshore.health_check.interval: 0s",
            "label `longshore.health_check.interval`: ",
        ),
        (
            "longshore.health_check.intervall: 5",
            "label `longshore.health_check.intervall`: unknown key `intervall`; did you mean `interval`?",
        ),
        (
            "longshore.health_check.path: health",
            "label `longshore.health_check.path`: expected a path",
        ),
        (
            "longshore.enabel: true",
            "label `longshore.enabel`: unknown label `enabel`; did you mean `enable`?",
        ),
        (
            "longshore.xyz: true",
            "expected one of `enable`, `target_group`, `port`",
        ),
        (
            "longshore.targets: 1",
            "label `longshore.targets`: only the file has this key",
        ),
        (
            "longshore.discovery.ecs.cluster: a",
            "only the file has this key",
        ),
        (
            "longshore.target_group: a b",
            "label `longshore.target_group`: a name has",
        ),
        (
            "longshore.listeners: web,other",
            "label `longshore.listeners`: \"other\" is no listener that labels may attach to; those are web, inner",
        ),
        (
            "longshore.rule.priority: 0",
            "label `longshore.rule.priority`: ",
        ),
        (
            "longshore.rule.priority: first",
            "label `longshore.rule.priority`: ",
        ),
        (
            "longshore.rule.hots_header: a",
            "label `longshore.rule.hots_header`: unknown label `hots_header`; did you mean `host_header`?",
        ),
        (
            "longshore.rule.host_header: a b",
            "label `longshore.rule.host_header`: expected a host name",
        ),
        (
            "longshore.rule.source_ip: nowhere",
            "label `longshore.rule.source_ip`: ",
        ),
        (
            "longshore.rule.path_pattern.regex_values: (",
            "label `longshore.rule.path_pattern.regex_values`: ",
        ),
        (
            "longshore.rule.http_header.host: a",
            "label `longshore.rule.http_header.host`: use the condition `host_header`",
        ),
        (
            "longshore.rule.url_rewrite.regex: a",
            "the key `replace` is missing",
        ),
        ("longshore.rules: a", "the name of the rule is missing"),
        (
            "longshore.protocol: HTTPS",
            "label `longshore.protocol`: only the file has this key",
        ),
        (
            "longshore.tls.ca_file: /etc/shadow",
            "label `longshore.tls.ca_file`: only the file has this key",
        ),
        (
            "longshore.stickiness: true",
            "label `longshore.stickiness`: ",
        ),
        ("longshore.slow_start: 1s", "label `longshore.slow_start`: "),
        (
            "longshore.load_balancing_algorithm_type: best",
            "label `longshore.load_balancing_algorithm_type`: ",
        ),
    ];
    for (text, expected) in cases {
        let faults = read(&format!("{good}{text}")).expect_err(text);
        assert!(
            faults.contains(expected),
            "{text}:\n{faults}\nnot {expected}"
        );
        assert_eq!(faults.lines().count(), 1, "{text}:\n{faults}");
    }
    let faults = read(
        "longshore.rules.a.path_pattern: /a\nlongshore.rules.a.priority: 1\nlongshore.rules.b.path_pattern: /b\nlongshore.rules.b.priority: 1",
    );
    assert!(
        faults
            .expect_err("twice")
            .contains("1 is the priority of rules[0] already")
    );
    let faults = read("longshore.enable: true").expect_err("no rule");
    assert!(
        faults.contains("a group without a rule gets no requests"),
        "{faults}"
    );
    let many: String = (0..21)
        .map(|n| format!("longshore.rules.r{n}.path_pattern: /{n}\n"))
        .collect();
    assert!(read(&many).expect_err("too many").contains("at most 20"));
}

#[test]
fn all_faults_come_at_once() {
    let faults = read(
        "longshore.rule.host_header: a b
        longshore.slow_start: soon
        longshore.health_check.interval: 0",
    );
    assert_eq!(faults.expect_err("three").lines().count(), 3);
}

#[test]
fn a_container_is_exposed_if_it_says_so_and_fits() {
    let port = |block: &LabelDiscovery, text: &str| block.port_of(&labels(text));
    let plain = block("");
    assert_eq!(port(&plain, "other.enable: true"), Ok(None));
    assert_eq!(port(&plain, "longshore.port: 80"), Ok(None));
    assert_eq!(
        port(&plain, "longshore.enable: true"),
        Ok(Some(LabelPort::default()))
    );
    let named = port(&plain, "longshore.enable: true\nlongshore.port_name: web");
    assert_eq!(
        named.expect("valid").expect("exposed").port_name.as_deref(),
        Some("web")
    );
    for text in [
        "longshore.enable: yes",
        "longshore.enable: true\nlongshore.port: 0",
        "longshore.enable: true\nlongshore.port: 65536",
        "longshore.enable: true\nlongshore.port: 80\nlongshore.port_name: web",
    ] {
        port(&plain, text).expect_err(text);
    }
    let other =
        block(", prefix: lb, exposed_by_default: true, constraints: {tier: front, owner: ''}");
    let fits = "tier: front\nowner: me";
    assert!(port(&other, fits).expect("valid").is_some());
    assert_eq!(port(&other, "tier: front"), Ok(None));
    assert_eq!(port(&other, "tier: back\nowner: me"), Ok(None));
    assert_eq!(port(&other, &format!("{fits}\nlb.enable: false")), Ok(None));
}

/// A small generator, as this crate has no other use for one.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("small")
    }

    fn from<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }
}

#[test]
fn no_labels_make_the_reader_panic_and_each_fault_has_a_message() {
    let seed = 0x6c6f_6e67_7368_6f72;
    println!("seed {seed:#x}");
    let mut draw = Draw(seed);
    let parts = [
        "rule",
        "rules",
        "api",
        "priority",
        "host_header",
        "path_pattern",
        "values",
        "regex_values",
        "http_header",
        "x-env",
        "query_string",
        "source_ip",
        "health_check",
        "interval",
        "path",
        "stickiness",
        "enabled",
        "type",
        "hash_policy",
        "name",
        "",
        "é",
        "\0",
        "targets",
        "target_group",
        "enable",
        "port",
        "listeners",
        "url_rewrite",
        "regex",
        "replace",
    ];
    let values = [
        "",
        "true",
        "0",
        "1",
        "-1",
        "99999999999999999999999",
        "5s",
        "/a",
        "*",
        "a,b",
        ",",
        "\\,",
        "\\",
        "=",
        "a=",
        "(",
        "[a-",
        "${HOME}",
        "é\u{202e}",
        "web",
        "10.0.0.0/33",
        "::/0",
        "null",
        "GET",
        "x\r\ny: z",
        "HTTP",
        "header",
        "$9",
    ];
    let block = block("");
    let (mut good, mut bad) = (0, 0);
    for round in 0..2_000 {
        let mut labels = Labels::new();
        if round % 2 == 0 {
            labels.insert(
                "longshore.rules.good.path_pattern".to_owned(),
                "/a".to_owned(),
            );
        }
        for _ in 0..draw.below(6) {
            let mut label = "longshore".to_owned();
            for _ in 0..=draw.below(3) {
                label.push('.');
                label.push_str(draw.from(&parts));
            }
            labels.insert(label, draw.from(&values).to_owned());
        }
        let port = block.port_of(&labels);
        assert!(port.is_ok_and(|port| port.is_none()) || labels.contains_key("longshore.enable"));
        match block.read(&labels, "app", None) {
            Ok(exposure) => {
                good += 1;
                assert!(!exposure.rules.is_empty() && !exposure.listeners.is_empty());
            }
            Err(faults) => {
                bad += 1;
                assert!(!faults.is_empty());
                assert!(faults.iter().all(|fault| !fault.message.is_empty()));
            }
        }
    }
    assert!(good > 50 && bad > 500, "{good} good, {bad} bad");
}
