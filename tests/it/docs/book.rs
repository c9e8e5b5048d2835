//! The book in `docs/`: its examples are files that `longshore check` takes, and what it names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use longshore::request::answer::Reason;
use longshore_tests::balancer::{fixed, start};
use longshore_tests::certificates::{Folder, Key};
use longshore_tests::process::{TempFile, output, output_with};
use longshore_tests::scrape;
use longshore_tests::wire::Wire;

use super::{keys, quoted, read, root};

/// The pages with their texts.
fn pages() -> BTreeMap<String, String> {
    let folder = root().join("docs/src");
    let files = std::fs::read_dir(folder).expect("the book");
    let names = files.map(|file| {
        let name = file.expect("readable").file_name();
        format!("docs/src/{}", name.to_str().expect("text"))
    });
    names.map(|name| (name.clone(), read(&name))).collect()
}

/// The blocks of a page that are in one language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let mark = format!("\n```{language}\n");
    let parts = page.split(&mark).skip(1);
    parts
        .map(|part| part.split("\n```").next().expect("a first part"))
        .collect()
}

/// A page without its blocks of code.
fn prose(page: &str) -> String {
    let parts = page.split("\n```").step_by(2);
    parts.collect::<Vec<_>>().join("\n")
}

/// An example as a whole file: what it leaves out is added.
fn whole(example: &str, folder: &Folder) -> String {
    let has = |key: &str| example.lines().any(|line| line.starts_with(key));
    let mut text = example.replace("certs/", &folder.path(""));
    if !has("listeners:") {
        text += "\nlisteners: [{name: other, port: 9, default_action: [{type: fixed_response, fixed_response: {status_code: 404}}]}]";
    }
    if !has("target_groups:") {
        text += "\ntarget_groups: [{name: app}, {name: api}, {name: app-next}]";
    }
    text
}

#[test]
fn every_example_of_the_book_is_a_file_that_passes_the_check() {
    let folder = Folder::default();
    folder.make("site", &["shop.example.com"], Key::Ecdsa, 30);
    folder.make("wildcard", &["*.example.com"], Key::Ecdsa, 30);
    for name in ["partners", "internal"] {
        folder.authority(name);
    }
    folder.revoke("partners", "partners.crl", &[]);
    let mut count = 0;
    for (name, page) in pages() {
        for example in blocks(&page, "yaml") {
            let file = TempFile::new(&whole(example, &folder));
            let path = file.path().to_str().expect("text");
            let environment = [
                ("COOKIE_KEY", "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="),
                ("TICKET_KEY", "EjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJCrze8="),
                ("AVAILABILITY_ZONE", "eu-central-1a"),
            ];
            let checked = output_with(&["check", "-c", path], &environment);
            let errors = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success(), "{name}:\n{example}\n{errors}");
            count += 1;
        }
    }
    assert!(count > 30, "{count} examples");
}

/// The name under which a heading can be reached.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars();
    let kept = kept.filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| {
        if c == ' ' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    })
    .collect()
}

/// The links of a text, without those in code.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let parts = prose.split("](").skip(1);
    parts
        .filter_map(|part| part.split(')').next())
        .filter(|link| !link.contains("://") && !link.contains(char::is_whitespace))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut documents = pages();
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "config/README.md",
        "tests/README.md",
        "discovery/README.md",
        "benches/README.md",
        "packaging/README.md",
    ] {
        documents.insert(name.to_owned(), read(name));
    }
    let mut broken = Vec::new();
    for (name, text) in &documents {
        let folder = Path::new(name).parent().expect("a folder");
        for link in links(text) {
            let (path, wanted) = link.split_once('#').unwrap_or((&link, ""));
            let file = if path.is_empty() {
                root().join(name)
            } else {
                root().join(folder).join(path)
            };
            let known = match wanted {
                "" => file.exists(),
                _ => std::fs::read_to_string(&file).is_ok_and(|text| {
                    let prose = prose(&text);
                    let mut headings = prose.lines().filter(|line| line.starts_with('#'));
                    headings.any(|line| anchor(line) == wanted)
                }),
            };
            if !known {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let contents = links(&read("docs/src/SUMMARY.md"));
    for name in pages().keys() {
        let page = name.strip_prefix("docs/src/").expect("a page");
        let listed = page == "SUMMARY.md" || contents.iter().any(|link| link == page);
        assert!(listed, "{page} is not in docs/src/SUMMARY.md");
    }
}

#[test]
fn every_reason_is_explained_with_its_status() {
    let page = read("docs/src/errors.md");
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        assert!(
            rows.insert(name, (cells[1], cells[2])).is_none(),
            "{name} twice"
        );
    }
    for reason in Reason::ALL {
        let name = reason.name();
        let (code, cause) = rows.remove(name).unwrap_or_else(|| {
            panic!("docs/src/errors.md has no row for `{name}`: cause, what to look at, mend")
        });
        let any = matches!(reason, Reason::FixedResponse | Reason::Redirect);
        let status = reason.status();
        let right = if any { "any" } else { status.as_str() };
        assert_eq!(code, right, "{name}");
        assert!(!cause.is_empty(), "{name}");
    }
    assert!(rows.is_empty(), "no such reasons: {rows:?}");
}

/// Texts that stand anywhere in a schema: values that keys may have.
fn texts(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::String(text) => {
            found.insert(text.clone());
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        serde_json::Value::Object(items) => items.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

fn fields(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) => {
            found.extend(object.keys().cloned());
            object.values().for_each(|value| fields(value, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

/// Whether a text in backticks looks like the name of a key: small letters, `_` and dots, with
/// at least one `_`.
fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
    text.contains('_') && text.chars().all(word) && !text.ends_with('_')
}

#[tokio::test]
async fn every_key_reason_and_metric_that_the_book_names_exists() {
    let port = ([127, 0, 0, 1], 9).into();
    let running = start(&fixed(&[port], "", "admin: {address: '127.0.0.1:2'}")).await;
    let admin = running.balancer.admin_address().expect("it has one");
    let metrics = scrape::names(&Wire::connect(admin).await.get("/metrics").await.text());
    assert!(metrics.len() > 20, "{metrics:?}");
    let mut known = BTreeSet::new();
    keys(&longshore_config::schema(), &mut known);
    texts(&longshore_config::schema(), &mut known);
    let view = Wire::connect(admin).await.get("/targets").await.text();
    fields(&serde_json::from_str(&view).expect("JSON"), &mut known);
    known.extend(Reason::ALL.map(|reason| reason.name().to_owned()));
    // Names of the kernel and of Prometheus.
    known.extend(["ipv4", "ip_unprivileged_port_start", "net", "file_sd"].map(str::to_owned));
    // What requests of `longshore compare` fail by.
    known.extend(["status_4xx", "status_5xx", "not_sent"].map(str::to_owned));
    let mut wrong = Vec::new();
    for (name, page) in pages() {
        // The first cell of a row says what it is called at ALB.
        let foreign = name.ends_with("migrate-alb.md");
        let own = |line: &str| match line.strip_prefix('|') {
            Some(row) if foreign => row.split_once('|').map_or("", |(_, rest)| rest).to_owned(),
            _ => line.to_owned(),
        };
        let text: String = prose(&page).lines().map(|line| own(line) + "\n").collect();
        for word in quoted(&text).into_iter().filter(|word| is_name(word)) {
            let exists = if word.starts_with("longshore_") {
                metrics.contains(word)
            } else {
                word.starts_with("aws_lb") || word.split('.').all(|part| known.contains(part))
            };
            if !exists {
                wrong.push(format!("{name}: there is no {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_command_that_the_documents_name_exists() {
    let help = output(&["--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let known: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(known.contains("check"), "{help}");
    let mut documents = pages();
    documents.insert("README.md".to_owned(), read("README.md"));
    let mut count = 0;
    for (name, page) in &documents {
        let shell = blocks(page, "sh").into_iter().flat_map(str::lines);
        let text = prose(page);
        let mentioned = quoted(&text);
        for line in mentioned.into_iter().chain(shell) {
            let Some(rest) = line.strip_prefix("longshore ") else {
                continue;
            };
            let command = rest.split_whitespace().next().unwrap_or_default();
            assert!(known.contains(command), "{name}: {line}");
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}
