//! What `/metrics` says, read as a scraper would.

use std::collections::BTreeSet;

/// The names of all series that a text of `/metrics` has, or may have later.
///
/// # Panics
/// If a line with a type has none.
#[must_use]
pub fn names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for line in types {
        let (name, kind) = line.split_once(' ').expect("a kind");
        let ends: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        names.extend(ends.iter().map(|end| format!("{name}{end}")));
    }
    names
}
