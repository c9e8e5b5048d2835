//! Faults of policies.

use longshore_config::parse;

const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy";

fn read(policy: &str) -> Result<(), String> {
    let text = format!(
        "listeners:
  - name: web
    port: 80
    default_action: [{{type: forward, target_group: app}}]
    policy: {{{policy}}}
target_groups: [{{name: app}}]
"
    );
    match parse("f.yaml", &text, &|_| None) {
        Ok(_) => Ok(()),
        Err(errors) => Err(errors.to_string()),
    }
}

#[test]
fn faults_of_policies_name_their_place_and_their_mend() {
    let cases = [
        (
            "source_ip_allow: []",
            "policy.source_ip_allow: an empty list lets nobody through",
        ),
        (
            "source_ip_deny: [10.0.0.0/33]",
            "a network such as 10.0.0.0/8",
        ),
        ("rate_limit: {requests: 0}", "a whole number from 1 to"),
        (
            "rate_limit: {requests: 100001}",
            "rate_limit.requests: more than 100,000 a second",
        ),
        (
            "rate_limit: {requests: 1, key: {type: header}}",
            "rate_limit.key: the key `name` is needed",
        ),
        (
            "rate_limit: {requests: 1, max_keys: 5}",
            "max_keys: expected a whole number from 1024",
        ),
        ("request_body_limit: -1", "request_body_limit"),
        (
            "request_headers: {}",
            "expected at least one of `set`, `add` and `remove`",
        ),
        (
            "request_headers: {set: {'a b': c}}",
            "is no name of a header",
        ),
        (
            "response_headers: {set: {A: \"b\\nc\"}}",
            "visible ASCII characters",
        ),
        (
            "request_headers: {remove: [Content-Length]}",
            "`Content-Length` cannot be changed here",
        ),
        (
            "request_headers: {add: {Host: a}}",
            "`Host` cannot be changed here",
        ),
        (
            "cors: {allow_origins: []}",
            "cors.allow_origins: at least one origin is needed",
        ),
        (
            "cors: {allow_origins: ['https://a/']}",
            "cors.allow_origins[0]: expected an origin",
        ),
        ("cors: {allow_origins: ['a.example']}", "expected an origin"),
        (
            "cors: {allow_origins: ['*'], allow_credentials: true}",
            "every page could act for its visitors",
        ),
        (
            "cors: {allow_origins: ['https://a.example', 'https://*'], allow_credentials: true}",
            "cors.allow_origins[1]: with `allow_credentials`, every page could act for its visitors, as \"https://*\" is any host; name the origins",
        ),
        (
            "cors: {allow_origins: ['http://*:8080'], allow_credentials: true}",
            "every page could act for its visitors",
        ),
        (
            "basic_auth: {users: {}}",
            "basic_auth.users: at least one user is needed",
        ),
        (
            "basic_auth: {users: {'a:b': x}}",
            "a user's name is not empty and has no `:`",
        ),
        (
            "basic_auth: {realm: 'a\"', users: {a: x}}",
            "basic_auth.realm: expected 1 to 128",
        ),
        (
            "compression: {algorithms: [gzip, br, gzip]}",
            "compression.algorithms[2]: it is in the list already",
        ),
        ("compression: {algorithms: [lzma]}", "lzma"),
        ("compression: {content_types: []}", "write `algorithms: []`"),
        (
            "compression: {content_types: [html]}",
            "compression.content_types[0]: expected a type such as",
        ),
        (
            "compression: {content_types: ['text/html; charset=utf-8']}",
            "without parameters",
        ),
        (
            "compression: {level: 10}",
            "level: expected a whole number from 1 to 9",
        ),
        (
            "compression: {min_length: 0}",
            "min_length: expected a whole number from 1",
        ),
        (
            "mirror: {target_group: apq}",
            "policy.mirror.target_group: there is no target group \"apq\"; did you mean \"app\"?",
        ),
        ("mirror: {}", "target_group"),
        (
            "mirror: {target_group: app, percent: 101}",
            "percent: expected a whole number from 0 to 100",
        ),
        ("mirror: {target_group: app, timeout: 2m}", "mirror.timeout"),
        ("bodylimit: 5", "unknown key `bodylimit`"),
    ];
    for (policy, expected) in cases {
        let got = read(policy).expect_err(policy);
        assert!(got.contains(expected), "{policy} gave {got}");
    }
    for good in [
        "source_ip_allow: [10.0.0.0/8, '::1'], source_ip_deny: []".to_owned(),
        "rate_limit: {requests: 100000, period: 1s, burst: 5, key: {type: path}}".to_owned(),
        "cors: {allow_origins: ['http://localhost:3000', 'https://*.a.example'], allow_headers: ['*']}".to_owned(),
        "cors: {allow_origins: ['https://*']}".to_owned(),
        "cors: {allow_origins: ['https://*.a.example', 'http://localhost:*', 'http://[::1]:*'], allow_credentials: true}".to_owned(),
        format!("basic_auth: {{users: {{a: {HASH}}}}}"),
        "request_body_limit: 0".to_owned(),
        "compression: {}".to_owned(),
        "mirror: {target_group: app, percent: 0, body_max: 0, timeout: 10ms}".to_owned(),
        "compression: {algorithms: [], content_types: ['*/*', 'application/*+json'], min_length: 1, level: 9}".to_owned(),
    ] {
        assert_eq!(read(&good), Ok(()), "{good}");
    }
}

#[test]
fn a_hash_is_checked_and_never_shown() {
    for (hash, expected) in [
        (HASH[..59].to_owned(), "expected a bcrypt hash"),
        (
            HASH.replace("$04$", "$16$"),
            "the hash has cost 16; expected 4 to 15",
        ),
        ("plain-password".to_owned(), "expected a bcrypt hash"),
        (
            "$apr1$abcdefgh$abcdefghijklmnopqrstuv".to_owned(),
            "expected a bcrypt hash",
        ),
    ] {
        let got = read(&format!("basic_auth: {{users: {{ali: '{hash}'}}}}")).expect_err(&hash);
        assert!(
            got.contains(expected) && got.contains("basic_auth.users.ali"),
            "{got}"
        );
        assert!(!got.contains(&hash[5..]), "{got}");
    }
    let config = format!(
        "listeners:\n  - name: web\n    port: 80\n    default_action: [{{type: forward, target_group: app}}]\n    \
         policy: {{basic_auth: {{users: {{ali: '{HASH}'}}}}}}\ntarget_groups: [{{name: app}}]\n"
    );
    let config = parse("f.yaml", &config, &|_| None).expect("valid");
    assert!(!format!("{config:?}").contains(&HASH[7..]));
}
