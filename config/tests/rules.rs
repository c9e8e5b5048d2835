//! Faults of regular expressions and transforms.

use longshore_config::parse;

/// The errors of a file with this rule.
#[track_caller]
fn fault(rule: &str) -> String {
    let text = format!(
        "listeners:
  - name: web
    port: 80
    default_action: [{{type: forward, target_group: app}}]
    rules:
      - priority: 1
{rule}
target_groups: [{{name: app}}]
"
    );
    match parse("f.yaml", &text, &|_| None) {
        Ok(_) => panic!("{rule} was accepted"),
        Err(errors) => errors.to_string(),
    }
}

const FORWARD: &str = "        action: [{type: forward, target_group: app}]";
const ANY: &str = "        condition: [{path_pattern: {values: ['/x']}}]";

#[test]
fn expressions_that_cannot_be_compiled_are_faults_at_their_place() {
    let cases = [
        (
            "path_pattern: {regex_values: ['^/(a']}",
            "f.yaml:7:52: listeners[0].rules[0].condition[0].path_pattern.regex_values[0]: \"^/(a\" is no regular expression: unclosed group",
        ),
        ("host_header: {regex_values: ['(?=a)']}", "look-around"),
        (
            "host_header: {regex_values: ['(a)\\1']}",
            "backreferences are not supported",
        ),
        (
            "path_pattern: {regex_values: ['(a{1000}){1000}']}",
            "it is too large once compiled",
        ),
        (
            "path_pattern: {regex_values: ['']}",
            "expected 1 to 1024 characters",
        ),
        (
            "path_pattern: {regex_values: ['\\p{Greek}']}",
            "is no regular expression: Unicode not allowed here",
        ),
        (
            "path_pattern: {values: ['/a'], regex_values: ['b']}",
            "path_pattern.regex_values: a condition holds `values` or `regex_values`; make two rules of it",
        ),
        ("path_pattern: {}", "at least one value is needed"),
        (
            "http_header: {http_header_name: A, regex_values: ['[']}",
            "http_header.regex_values[0]: \"[\" is no regular expression",
        ),
    ];
    for (condition, expected) in cases {
        let got = fault(&format!("        condition: [{{{condition}}}]\n{FORWARD}"));
        assert!(got.contains(expected), "{condition} gave {got}");
    }
}

#[test]
fn faults_of_transforms_name_their_place_and_their_mend() {
    let url = |rewrite: &str| {
        format!("[{{type: url_rewrite, url_rewrite_config: {{rewrite: {{{rewrite}}}}}}}]")
    };
    let cases = [
        (url("regex: '(', replace: ''"), "transform[0].url_rewrite_config.rewrite.regex: \"(\" is no regular expression"),
        (url("regex: 'a', replace: 'b c'"), "rewrite.replace: expected at most 1024 visible ASCII characters"),
        (url("regex: '(a)', replace: '$2'"), "`$2` stands for nothing: the expression has 1 groups"),
        (url("regex: 'a', replace: '/$x'"), "after `$`, at byte 1, expected a number or a second `$`"),
        (url("regex: 'a', replace: '/$'"), "after `$`, at byte 1"),
        ("[{type: url_rewrite}]".to_owned(), "this type of transform needs the key `url_rewrite_config`"),
        ("[{type: url-rewrite}]".to_owned(), "unknown value `url-rewrite`; did you mean `url_rewrite`?"),
        ("[{type: host_header_rewrite, host_header_rewrite_config: {rewrite: {regex: a, replace: b}}, url_rewrite_config: {rewrite: {regex: a, replace: b}}}]".to_owned(), "transform[0].url_rewrite_config: the transform's `type` is another one"),
        ("[{type: url_rewrite, url_rewrite_config: {rewrite: {regex: a, replace: b}}}, {type: url_rewrite, url_rewrite_config: {rewrite: {regex: a, replace: b}}}]".to_owned(), "transform[1]: each type of transform stands once in a rule"),
    ];
    for (transform, expected) in cases {
        let got = fault(&format!("{ANY}\n{FORWARD}\n        transform: {transform}"));
        assert!(got.contains(expected), "{transform} gave {got}");
    }
    let fixed = "        action: [{type: fixed_response, fixed_response: {status_code: 404}}]";
    let transform = url("regex: 'a', replace: 'b'");
    let got = fault(&format!("{ANY}\n{fixed}\n        transform: {transform}"));
    assert!(got.contains("the rule's action is no `forward`"), "{got}");
}

#[test]
fn expressions_that_are_nested_without_end_are_faults() {
    for text in [
        "(".repeat(60) + &")".repeat(60),
        format!("a{}", "+".repeat(300)),
    ] {
        let rule = format!(
            "        condition: [{{path_pattern: {{regex_values: ['{text}']}}}}]\n{FORWARD}"
        );
        let told = fault(&rule);
        assert!(told.contains("nest"), "{told}");
    }
}
