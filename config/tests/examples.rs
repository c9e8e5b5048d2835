//! Every example file is a valid configuration.

use std::path::Path;

#[test]
fn every_example_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the examples are there") {
        let path = entry.expect("readable").path();
        if let Err(errors) = longshore_config::load(&path) {
            panic!("{errors}");
        }
        count += 1;
    }
    assert!(count >= 3, "{count} examples");
}

#[test]
fn the_schema_names_every_top_level_key() {
    let schema = longshore_config::schema();
    for key in [
        "admin",
        "runtime",
        "load_balancer",
        "listeners",
        "target_groups",
    ] {
        assert!(schema["properties"][key].is_object(), "{key} in {schema}");
    }
    assert_eq!(schema["additionalProperties"], false);
}
