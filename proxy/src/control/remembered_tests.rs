use std::path::PathBuf;
use std::time::Duration;

use longshore_config::Discovery;
use longshore_discovery::{Target, TargetKey};

use super::Place;
use crate::clock;

const WALL: Duration = Duration::from_secs(1_800_000_000);

/// A directory that is gone with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("longshore-remembered-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

fn source(service: &str) -> Discovery {
    let text = format!(
        "listeners: [{{name: l, port: 80, default_action: [{{type: forward, target_group: g}}]}}]\n\
         target_groups: [{{name: g, discovery: {{ecs: {{cluster: c, service: {service}}}}}}}]\n"
    );
    let config = longshore_config::parse("test", &text, &|_| None).expect("valid");
    config.target_groups[0].discovery.clone().expect("a source")
}

pub(in crate::control) fn target(id: u16) -> Target {
    Target {
        key: TargetKey {
            task: format!("arn:task/{id}").into(),
            container: "web".into(),
            port: 80,
        },
        address: ([10, 0, 0, 1], 32768 + id).into(),
        zone: (id == 0).then(|| "a".into()),
        weight: 1,
        instance: None,
        shared_port: id == 0,
        started_at: (id == 0).then_some(-5),
        protocol_version: None,
        claim: None,
        confirmed_at: clock::now(),
    }
}

#[test]
fn what_was_saved_is_loaded_with_its_age() {
    let directory = Directory::new("whole");
    let place = Place::new(&directory.0, "a/b c", &source("s"));
    assert_eq!(place.load(WALL, clock::now()), Ok(None));
    place.save(&[target(0), target(1)], WALL).expect("saved");
    let later = WALL + Duration::from_secs(90);
    let got = place
        .load(later, clock::now())
        .expect("read")
        .expect("there");
    assert_eq!(got.age, Duration::from_secs(90));
    assert!(got.targets[0].same_place(&target(0)) && got.targets[1].same_place(&target(1)));
    place.save(&[], later).expect("saved");
    let got = place
        .load(later, clock::now())
        .expect("read")
        .expect("there");
    assert!(got.targets.is_empty());
}

#[test]
fn the_record_of_another_source_or_of_long_ago_is_nobodys() {
    let directory = Directory::new("other");
    let place = Place::new(&directory.0, "g", &source("s"));
    place.save(&[target(0)], WALL).expect("saved");
    let other = Place::new(&directory.0, "g", &source("t"));
    assert_eq!(other.load(WALL, clock::now()), Ok(None));
    let long_after = WALL + Duration::from_secs(25 * 3600);
    assert_eq!(place.load(long_after, clock::now()), Ok(None));
}

#[test]
fn a_broken_record_is_an_error_that_names_it_and_no_target() {
    let directory = Directory::new("broken");
    let place = Place::new(&directory.0, "g", &source("s"));
    place.save(&[target(0)], WALL).expect("saved");
    let path = directory.0.join("targets-g.json");
    let good = std::fs::read_to_string(&path).expect("text");
    for bad in [
        String::new(),
        good[..good.len() / 2].to_owned(),
        "[]".to_owned(),
        good.replace("32768", "99999"),
        good.replace("\"port\":80", "\"port\":80000"),
        good.replace("\"shared_port\":true", "\"shared_port\":1"),
    ] {
        std::fs::write(&path, &bad).expect("written");
        let error = place.load(WALL, clock::now()).expect_err(&bad);
        assert!(error.contains("targets-g.json"), "{error}");
    }
}
