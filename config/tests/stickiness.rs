//! Stickiness: what is accepted, and faults with their places and mends.

use longshore_config::parse;

const KEY: &str = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";

/// A file with two groups; `{}` stands for what a case puts there.
fn file(runtime: &str, forward: &str, app: &str, next: &str) -> String {
    format!(
        "runtime: {{{runtime}}}
listeners:
  - name: web
    port: 80
    default_action:
      - type: forward
        forward:
          target_group: [{{name: app}}, {{name: next}}]{forward}
target_groups:
  - name: app{app}
  - name: next{next}
"
    )
}

const ON: &str = "\n          stickiness: {enabled: true, duration: 60}";

fn errors(text: &str) -> String {
    match parse("f", text, &|_| None) {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn every_kind_of_stickiness_is_accepted() {
    for group in [
        "{enabled: true}",
        "{enabled: true, type: lb_cookie, cookie_duration: 1}",
        "{enabled: true, type: lb_cookie, cookie_duration: 604800, cookie_name: ROUTE}",
        "{enabled: true, type: app_cookie, cookie_name: JSESSIONID, cookie_duration: 7d}",
        "{enabled: false, type: app_cookie}",
    ] {
        let sticky = format!("\n    stickiness: {group}");
        let keys = format!("cookie_keys: ['{KEY}']");
        assert_eq!(errors(&file(&keys, ON, &sticky, "")), "", "{group}");
        // Two groups may share the cookie of one name.
        assert_eq!(errors(&file(&keys, ON, &sticky, &sticky)), "", "{group}");
    }
}

#[test]
fn each_fault_of_a_group_names_its_place_and_its_mend() {
    for (settings, error) in [
        (
            "{enabled: true, type: app_cookie}",
            "f:10:17: target_groups[0].stickiness: `type: app_cookie` needs `cookie_name`, the name of the application's session cookie",
        ),
        (
            "{enabled: true, type: app_cookie, cookie_name: AWSALBTG}",
            "f:10:64: target_groups[0].stickiness.cookie_name: names that begin with `AWSALB` are the load balancer's own; name the cookie that your application sets",
        ),
        (
            "{enabled: true, cookie_name: awsalbx}",
            "f:10:46: target_groups[0].stickiness.cookie_name: names that begin with `AWSALB` are the load balancer's own; leave the key out for `AWSALB`, or choose another name",
        ),
        (
            "{enabled: true, cookie_name: 'a b'}",
            "f:10:46: target_groups[0].stickiness.cookie_name: the name of a cookie has 1 to 256 letters, digits and characters of `!#$%&'*+-.^_|~`; found \"a b\"",
        ),
        (
            "{enabled: true, cookie_name: ''}",
            "f:10:46: target_groups[0].stickiness.cookie_name: the name of a cookie has 1 to 256 letters, digits and characters of `!#$%&'*+-.^_|~`; found \"\"",
        ),
        (
            "{enabled: true, cookie_duration: 8d}",
            "f:10:50: target_groups[0].stickiness.cookie_duration: expected a duration from 1s to 7d, such as 30, 500ms, 30s, 5m or 1d, found \"8d\"",
        ),
        (
            "{enabled: true, cookie_duration: 0}",
            "f:10:50: target_groups[0].stickiness.cookie_duration: expected a duration from 1s to 7d, such as 30, 500ms, 30s, 5m or 1d, found 0",
        ),
    ] {
        let text = file("", ON, &format!("\n    stickiness: {settings}"), "");
        let text = text.replace("name: app\n    stickiness", "{name: app, stickiness");
        let text = text.replacen(settings, &format!("{settings}}}"), 1);
        let found = errors(&text);
        let place = |text: &str| text.splitn(4, ':').skip(3).collect::<String>();
        assert_eq!(place(found.trim_end()), place(error), "{settings}");
    }
}

#[test]
fn groups_with_target_stickiness_in_a_weighted_forward_need_group_stickiness() {
    let sticky = "\n    stickiness: {enabled: true}";
    let found = errors(&file("", "", "", sticky));
    assert_eq!(
        found.trim_end(),
        "f:8:25: listeners[0].default_action[0].forward.target_group: \"next\" keeps clients at one target, but this forward sends them to another group at any time; add `stickiness: {enabled: true, duration: 1d}` beside `target_group`"
    );
    assert_eq!(errors(&file("", ON, "", sticky)), "");
    let off = "\n    stickiness: {enabled: false}";
    assert_eq!(errors(&file("", "", "", off)), "");
}

#[test]
fn a_cookie_of_the_balancer_has_the_name_of_no_other_cookie() {
    let lb = |name: &str| format!("\n    stickiness: {{enabled: true, cookie_name: {name}}}");
    let app = |name: &str| {
        format!("\n    stickiness: {{enabled: true, type: app_cookie, cookie_name: {name}}}")
    };
    for (first, second, used) in [
        (lb("SID"), app("SID"), "`SID`"),
        (app("SID"), lb("SID"), "`SID`"),
        (lb("SID"), app("SIDCORS"), "`SIDCORS`"),
        (lb("SID"), lb("SIDCORS"), "`SIDCORS`"),
    ] {
        let found = errors(&file("", ON, &first, &second));
        assert!(
            found.contains("target_groups[1].stickiness.cookie_name: ")
                && found.contains(used)
                && found.contains("give one of them another name")
                && found.lines().count() <= 2,
            "{found}"
        );
    }
    assert_eq!(errors(&file("", ON, &lb("SID"), &app("OTHER"))), "");
}

#[test]
fn each_fault_of_a_key_names_its_place_and_never_the_key() {
    let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (keys, error) in [
        (
            "c2VjcmV0".to_owned(),
            "[0]: expected 32 bytes in base64, as `openssl rand -base64 32` prints them, found 6 bytes",
        ),
        (
            "'not base64!'".to_owned(),
            "[0]: expected 32 bytes in base64, as `openssl rand -base64 32` prints them, found other text",
        ),
        (zeros.to_owned(), "[0]: this key is one byte over and over"),
        (
            format!("{KEY}, {KEY}"),
            "[1]: this key is that of cookie_keys[0] already",
        ),
    ] {
        let found = errors(&file(&format!("cookie_keys: [{keys}]"), "", "", ""));
        assert!(
            found.contains(&format!("runtime.cookie_keys{error}")),
            "{found}"
        );
        for key in keys.split(", ") {
            assert!(!found.contains(key.trim_matches('\'')), "{found}");
        }
    }
    let nine: Vec<String> = (0..9)
        .map(|number| KEY.replacen("79", &format!("7{number}"), 1))
        .collect();
    let list = |count: usize| {
        file(
            &format!("cookie_keys: [{}]", nine[..count].join(", ")),
            "",
            "",
            "",
        )
    };
    assert_eq!(errors(&list(8)), "");
    assert!(errors(&list(9)).contains("runtime.cookie_keys: 9 keys; at most 8 are used"));
    // A key from the environment is no more shown than one in the file.
    let text = file("cookie_keys: ['${KEY}']", "", "", "");
    let read = parse("f", &text, &|_| Some("c2VjcmV0".to_owned()));
    let found = read.expect_err("too short").to_string();
    assert!(
        found.contains("found 6 bytes") && !found.contains("c2VjcmV0"),
        "{found}"
    );
}
