//! Finds which Pingora this is, for the table of versions.

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").expect("cargo has written it");
    let version = lock
        .split_once("name = \"pingora\"\nversion = \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .expect("it depends on Pingora")
        .0;
    println!("cargo::rustc-env=PINGORA_VERSION={version}");
}
