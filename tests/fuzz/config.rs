//! Configuration files.

use longshore_config::parse;

use crate::engine::{outcome, run};

const WORDS: &[&[u8]] = &[
    b"\n",
    b"  ",
    b": ",
    b"- ",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"'",
    b"#",
    b"&a",
    b"*a",
    b"<<: *a",
    b"!!str ",
    b"${HOME}",
    b"${",
    b"$${",
    b"|\n",
    b">-\n",
    b"null",
    b"~",
    b"true",
    b"-1",
    b"0x10",
    b"1e9",
    b"30s",
    b"1d",
    b"99999999999999999999",
    b"listeners:",
    b"target_groups:",
    b"name: ",
    b"port: ",
    b"address: ",
    b"default_action:",
    b"rules:",
    b"condition:",
    b"values:",
    b"\xef\xbb\xbf",
    b"\0",
    b"\t",
    b"---\n",
    b"...\n",
];

const EXAMPLES: [&str; 6] = [
    include_str!("../../config/examples/minimal.yaml"),
    include_str!("../../config/examples/rules.yaml"),
    include_str!("../../config/examples/sticky.yaml"),
    include_str!("../../config/examples/balancing.yaml"),
    include_str!("../../config/examples/ecs.yaml"),
    include_str!("../../config/examples/strict.yaml"),
];

fn file(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else {
        return 0;
    };
    // For YAML a lone CR ends a line as well.
    let lines = text.split(['\n', '\r']).count() as u64;
    match parse("f.yaml", text, &|name| {
        (name == "HOME").then(|| "/root".to_owned())
    }) {
        Ok(config) => outcome((
            config.listeners.len().min(3),
            config.target_groups.len().min(3),
        )),
        Err(errors) => {
            assert!(!errors.errors.is_empty());
            for error in &errors.errors {
                let at = error.position;
                assert!(
                    at.line >= 1 && at.line <= lines && at.column >= 1,
                    "{at:?} of {lines}"
                );
                assert!(!error.message.is_empty());
            }
            // What is said, without what was found.
            let said: String = errors.errors[0].message.chars().take(24).collect();
            outcome((said, errors.errors.len().min(4)))
        }
    }
}

#[test]
fn any_file_is_read_or_has_errors_with_places_in_it() {
    let seeds: Vec<Vec<u8>> = EXAMPLES
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    run("config", 1_000, &seeds, WORDS, file);
}
