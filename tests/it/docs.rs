//! The documents tell the truth, and the rules of the house hold.

mod book;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace").to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All Rust files below a folder, with their texts.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                let path = path.strip_prefix(root()).expect("below the root").display();
                found.push((format!("/{path}"), text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

/// The texts between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn keys(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(properties) = object.get("properties").and_then(|value| value.as_object()) {
                found.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| keys(value, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn every_key_of_the_file_is_explained() {
    let mut known = BTreeSet::new();
    keys(&longshore_config::schema(), &mut known);
    assert!(known.len() > 50, "{} keys", known.len());
    let text = read("config/README.md");
    let explained = quoted(&text);
    let missing: Vec<&String> = known
        .iter()
        .filter(|key| {
            !explained
                .iter()
                .any(|text| text.split('.').any(|part| part == *key))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "config/README.md does not explain {missing:?}"
    );
}

#[test]
fn every_test_and_file_that_a_document_names_exists() {
    let all: Vec<(String, String)> = [
        "config",
        "discovery",
        "compare",
        "proxy",
        "tests",
        "benches",
    ]
    .iter()
    .flat_map(|folder| sources(folder))
    .collect();
    let mut wrong = Vec::new();
    for document in [
        "ARCHITECTURE.md",
        "README.md",
        "tests/README.md",
        "discovery/README.md",
    ] {
        let text = read(document);
        for name in quoted(&text) {
            let word = name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if word && name.matches('_').count() >= 5 && !name.ends_with('_') {
                let known = all
                    .iter()
                    .any(|(_, text)| text.contains(&format!("fn {name}(")));
                if !known {
                    wrong.push(format!("{document}: no test {name}"));
                }
            }
            if name.ends_with(".rs")
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "/_.".contains(c))
            {
                let known = all
                    .iter()
                    .any(|(path, _)| path.ends_with(&format!("/{name}")));
                if !known {
                    wrong.push(format!("{document}: no file {name}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files whose code matches, tests left out.
fn with(folder: &str, what: impl Fn(&str) -> bool) -> Vec<String> {
    sources(folder)
        .into_iter()
        .filter(|(path, _)| !path.contains("/tests/") && !path.contains("/emulator/"))
        .filter(|(_, text)| what(text))
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn only_the_sdk_files_use_the_aws_sdk() {
    for folder in ["config", "discovery", "proxy"] {
        for path in with(folder, |text| {
            text.contains("aws_sdk_") || text.contains("aws_config::")
        }) {
            let own = path == "/discovery/src/ecs/sdk.rs";
            assert!(own || path.starts_with("/discovery/src/ecs/sdk/"), "{path}");
        }
    }
    assert!(!with("discovery", |text| text.contains("aws_sdk_ecs")).is_empty());
}

#[test]
fn only_one_file_uses_the_dns_library() {
    for folder in ["config", "discovery", "proxy"] {
        for path in with(folder, |text| text.contains("hickory_")) {
            assert_eq!(path, "/discovery/src/dns/resolver.rs");
        }
    }
    let files = with("discovery", |text| text.contains("hickory_resolver::"));
    assert_eq!(files.len(), 1);
}

#[test]
fn only_the_engine_file_uses_bollard() {
    for folder in ["config", "discovery", "proxy"] {
        for path in with(folder, |text| text.contains("bollard::")) {
            assert_eq!(path, "/discovery/src/docker/engine.rs");
        }
    }
    assert_eq!(
        with("discovery", |text| text.contains("bollard::")).len(),
        1
    );
    assert_eq!(
        with("discovery", |text| text.contains("aws_sdk_sqs")).len(),
        1
    );
}

#[test]
fn only_the_config_crate_reads_the_file() {
    for folder in ["discovery", "proxy"] {
        let files = with(folder, |text| text.contains("Deserialize"));
        assert!(files.is_empty(), "{files:?}");
    }
    assert!(!with("config", |text| text.contains("Deserialize")).is_empty());
}

#[test]
fn the_discovery_crate_does_not_know_the_proxy() {
    for manifest in ["discovery/Cargo.toml", "config/Cargo.toml"] {
        assert!(
            !read(manifest).contains("longshore.workspace"),
            "{manifest}"
        );
    }
}

#[test]
fn there_is_one_swapped_pointer() {
    let files = with("proxy", |text| text.contains("ArcSwap<"));
    assert_eq!(files.len(), 1, "{files:?}");
}
