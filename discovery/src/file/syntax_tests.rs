use std::time::Instant;

use super::super::contents::{Contents, read};

fn json(text: &str) -> Result<Contents, String> {
    read("t.json", text.as_bytes(), Instant::now())
}

fn yaml(text: &str) -> Result<Contents, String> {
    read("t.yaml", text.as_bytes(), Instant::now())
}

/// `ADDRESS ZONE` of each target.
#[track_caller]
fn targets(contents: Result<Contents, String>) -> Vec<String> {
    let contents = contents.expect("understood");
    assert_eq!(contents.problems, []);
    let targets = contents.targets.iter();
    targets
        .map(|target| {
            format!(
                "{} {}",
                target.address,
                target.zone.as_deref().unwrap_or("-")
            )
        })
        .collect()
}

#[test]
fn without_a_known_extension_the_first_character_tells_json_from_yaml() {
    let now = Instant::now();
    for (file, text) in [
        ("targets", " \n[{\"targets\": [\"10.0.0.1:80\"]}]"),
        ("v1.2/targets", "{\"targets\": [\"10.0.0.1:80\"]}"),
        ("targets.conf", "targets: ['10.0.0.1:80']\n"),
        ("TARGETS.JSON", "[{\"targets\": [\"10.0.0.1:80\"]}]"),
        ("targets.YML", "\u{feff}targets: ['10.0.0.1:80']\n"),
        ("targets.json", "\u{feff}[{\"targets\": [\"10.0.0.1:80\"]}]"),
    ] {
        let contents = read(file, text.as_bytes(), now);
        assert_eq!(targets(contents), ["10.0.0.1:80 -"], "{file}");
    }
}

#[test]
fn an_empty_list_is_no_targets_and_an_empty_file_is_a_failure() {
    for text in ["[]", " [ ]\n", "{\"targets\": []}", "[{\"targets\": []}]"] {
        assert_eq!(targets(json(text)), [""; 0], "{text}");
        assert_eq!(targets(yaml(text)), [""; 0], "{text}");
    }
    for text in ["", " ", "\n\n\t", "\u{feff}"] {
        for file in ["t.json", "t.yaml", "t"] {
            let error = read(file, text.as_bytes(), Instant::now()).expect_err("nothing");
            assert!(
                error.starts_with(&format!("{file}: the file is empty; is it half-written?")),
                "{error}"
            );
        }
    }
}

#[test]
fn a_json_file_that_was_cut_anywhere_is_a_failure() {
    let text = r#"[{"targets": ["10.0.0.1:8080", "[::1]:80"], "labels": {"zone": "a"}},
 {"targets": [{"address": "10.0.0.2", "port": 80}]}]"#;
    assert!(json(text).is_ok());
    for end in 0..text.len() {
        let error = json(&text[..end]).expect_err("cut");
        let half = error.contains("half-written?");
        assert!(half, "{end}: {error}");
        for file in ["t.yaml", "t"] {
            let cut = read(file, &text.as_bytes()[..end], Instant::now());
            assert!(cut.is_err(), "{file} {end}");
        }
    }
}

#[test]
fn a_yaml_file_that_was_cut_within_a_line_is_a_failure() {
    let text = "- targets:\n  - 10.0.0.1:8080\n  - 10.0.0.2:8080\n  labels:\n    zone: a\n";
    assert_eq!(targets(yaml(text)).len(), 2);
    let lines: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    for end in (0..text.len()).filter(|end| !lines.contains(end)) {
        let error = yaml(&text[..end]).expect_err("cut");
        assert!(error.contains("half-written?"), "{end}: {error}");
    }
    assert_eq!(
        yaml("targets:\n- 10.0.0.1:80").expect_err("cut"),
        "t.yaml:2:14: the last line has no end; is the file half-written? End each line of a YAML file with a line break"
    );
}

#[test]
fn a_malformed_file_is_a_failure_with_its_place() {
    for (file, text, start) in [
        (
            "t.json",
            "[{]",
            "t.json:1:3: not valid JSON: key must be a string",
        ),
        (
            "t.json",
            "[{\"targets\": [\n\"10.0.0.1:80\",\n]}]",
            "t.json:3:1: not valid JSON: trailing comma",
        ),
        (
            "t.json",
            "[] []",
            "t.json:1:4: not valid JSON: trailing characters",
        ),
        ("t.json", "\0\0\0\0", "t.json:1:1: not valid JSON"),
        ("t.json", "targets: []\n", "t.json:1:2: not valid JSON"),
        (
            "t.json",
            "[{\"targets\": [\"10.0.0.1",
            "t.json:1:23: the file ends in the middle (EOF while parsing a string)",
        ),
        ("t.yaml", "targets:\n  - a: [\n", "t.yaml:"),
        (
            "t.yaml",
            "targets: []\ntargets: []\n",
            "t.yaml:2:1: not valid YAML: duplicate mapping key",
        ),
        ("t.yaml", "targets: []\n---\ntargets: []\n", "t.yaml:"),
        ("t.yaml", "targets: *other\n", "t.yaml:1:10: not valid YAML"),
        ("t.yaml", "targets:\n  - a\n - b\n", "t.yaml:3:"),
    ] {
        let error = read(file, text.as_bytes(), Instant::now()).expect_err(text);
        assert!(error.starts_with(start), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let deep = "[".repeat(1_000_000);
    assert!(json(&deep).is_err() && yaml(&deep).is_err());
    let error = read("t.json", b"[\n\"\xff\"]", Instant::now()).expect_err("not UTF-8");
    assert_eq!(error, "t.json:2:2: not UTF-8 here; write the file in UTF-8");
}

#[test]
fn an_alias_may_stand_for_a_group_but_not_for_a_flood() {
    let one = "- &a\n  targets: ['10.0.0.1:80']\n- targets: []\n  labels: &l {zone: a}\n- targets: ['10.0.0.2:80']\n  labels: *l\n";
    assert_eq!(targets(yaml(one)), ["10.0.0.1:80 -", "10.0.0.2:80 a"]);
    let mut flood = String::from("a: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        flood += &format!("b{level}: &a{level} [{below}]\n");
    }
    flood += "targets: []\n";
    assert!(yaml(&flood).is_err());
}
