//! What Longshore is shipped with: the unit of systemd, task definitions, the template.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::DEADLINE;
use longshore_tests::certificates::{Folder, Key};
use longshore_tests::process::{Process, TempFile, binary, free_port, output, output_with};
use longshore_tests::python::python;

fn packaging(path: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("the workspace")
        .join("packaging")
        .join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(packaging(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn succeeds(command: &mut Command) -> String {
    let got = command.output().expect("runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (said(&got.stdout), said(&got.stderr));
    assert!(got.status.success(), "{command:?}\n{out}\n{error}");
    out
}

fn check(text: &str) {
    let file = TempFile::new(text);
    let key = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJ";
    let environment = [
        ("CLUSTER", "prod"),
        ("LOAD_BALANCER_NETWORK", "10.0.0.0/24"),
        ("COOKIE_KEY", key),
        ("TICKET_KEY", key),
    ];
    let path = file.path().to_str().expect("text");
    let got = output_with(&["check", "-c", path], &environment);
    assert!(
        got.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&got.stderr)
    );
}

#[test]
fn the_files_of_the_task_definitions_pass_the_check() {
    for name in ["ecs/longshore.yaml", "ecs/behind-nlb.yaml"] {
        check(&read(name));
    }
}

/// The texts behind `!Sub |` that are files of ours, with names and secrets as a stack has them.
fn files_of_the_template(folder: &Folder) -> Vec<String> {
    let template = read("cloudformation/fargate.yaml");
    let mut files = Vec::new();
    for part in template.split("- !Sub |\n").skip(1) {
        let lines = part
            .lines()
            .map_while(|line| line.strip_prefix("          "));
        let mut text: String = lines.map(|line| format!("{line}\n")).collect();
        for (name, value) in [
            ("LoadBalancerNetwork", "10.0.0.0/24"),
            ("ClusterName", "prod"),
            ("ServiceName", "app"),
            ("ContainerName", "web"),
            ("ContainerPort", "8080"),
            ("HealthCheckPath", "/health"),
        ] {
            text = text.replace(&format!("${{{name}}}"), value);
        }
        files.push(
            text.replace("${!", "${")
                .replace("/config/", &folder.path("")),
        );
    }
    files
}

#[test]
fn the_files_of_the_template_pass_the_check() {
    let folder = Folder::default();
    folder.make("site", &["shop.example.com"], Key::Ecdsa, 30);
    let files = files_of_the_template(&folder);
    assert_eq!(files.len(), 2);
    assert!(files[0].contains("certificates") && !files[1].contains("certificates"));
    files.iter().for_each(|text| check(text));
}

/// The actions of AWS that a text names.
fn actions(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != ':');
    words
        .filter(|word| {
            let mut parts = word.split(':');
            let service = parts.next().unwrap_or_default();
            let action = parts.next().unwrap_or_default();
            ["ecs", "ec2", "ssm", "sqs"].contains(&service)
                && action.starts_with(char::is_uppercase)
                && parts.next().is_none()
        })
        .collect()
}

#[test]
fn the_role_of_the_template_may_do_what_the_file_needs_and_nothing_more() {
    let folder = Folder::default();
    folder.make("site", &["shop.example.com"], Key::Ecdsa, 30);
    let file = TempFile::new(&files_of_the_template(&folder)[1].replace(
        "${COOKIE_KEY}A=",
        "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
    ));
    let got = output(&["events-policy", "-c", file.path().to_str().expect("text")]);
    let printed = String::from_utf8_lossy(&got.stdout).into_owned();
    let template = read("cloudformation/fargate.yaml");
    let role = template.split("\n  TaskRole:").nth(1).expect("the role");
    let role = role.split("\n  # ---").next().expect("a part");
    let needed = actions(&printed);
    assert!(needed.len() >= 5, "{printed}");
    assert_eq!(actions(role), needed);
    assert!(!role.contains(":*\"") && !role.contains("Action: \"*\""));
}

#[test]
fn cfn_lint_has_nothing_to_say_about_the_template() {
    let Some(python) = python("moto and cfn-lint") else {
        return;
    };
    let template = packaging("cloudformation/fargate.yaml");
    // It is a script beside the interpreter.
    let lint = Path::new(&python).with_file_name("cfn-lint");
    succeeds(
        Command::new(lint)
            .args(["--include-checks", "I", "--"])
            .arg(template),
    );
}

#[test]
fn each_task_definition_is_one_that_ecs_takes() {
    let Some(python) = python("moto and cfn-lint") else {
        return;
    };
    let names = ["edge-fargate", "sidecar", "host-ec2", "anywhere"];
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("task_definitions.py");
    let mut command = Command::new(python);
    command.arg(script);
    command.args(names.map(|name| packaging(&format!("ecs/{name}.json"))));
    let out = succeeds(&mut command);
    assert_eq!(out.lines().count(), names.len(), "{out}");
    assert!(out.lines().all(|line| line.contains("longshore")), "{out}");
}

#[test]
fn each_container_of_ours_runs_without_rights_and_can_be_asked_for_its_health() {
    for name in ["edge-fargate", "sidecar", "host-ec2", "anywhere"] {
        let text = read(&format!("ecs/{name}.json"));
        let definition: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let containers = definition["containerDefinitions"]
            .as_array()
            .expect("a list");
        let ours = containers.iter().find(|one| one["name"] == "longshore");
        let ours = ours.expect("Longshore");
        assert_eq!(ours["user"], "65532:65532", "{name}");
        assert_eq!(ours["readonlyRootFilesystem"], true, "{name}");
        assert_eq!(
            ours["linuxParameters"]["capabilities"]["drop"][0], "ALL",
            "{name}"
        );
        let command: Vec<&str> = ours["healthCheck"]["command"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|word| word.as_str())
            .collect();
        assert_eq!(command[..2], ["CMD", "/usr/local/bin/longshore"], "{name}");
        // Nobody is there to ask, but the command is one.
        assert_eq!(output(&command[2..]).status.code(), Some(1), "{name}");
    }
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_is_hardened() {
    let unit = read("systemd/longshore.service");
    assert!(unit.contains("Type=notify") && unit.contains("NoNewPrivileges=yes"));
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("left out: there is no systemd-analyze");
        return;
    }
    let folder = Folder::default();
    let path = folder.path("longshore.service");
    let here = binary().to_str().expect("text").to_owned();
    std::fs::write(&path, unit.replace("/usr/local/bin/longshore", &here)).expect("written");
    succeeds(Command::new("systemd-analyze").args(["verify", "--man=no", &path]));
    // Below 2 of 10 is what systemd calls OK. Older versions cannot look at a file.
    let mut security = Command::new("systemd-analyze");
    security.args([
        "security",
        "--offline=yes",
        "--threshold=20",
        "--no-pager",
        &path,
    ]);
    let got = security.output().expect("runs");
    let said = String::from_utf8_lossy(&got.stderr).into_owned();
    assert!(
        got.status.success() || said.contains("unrecognized option"),
        "{}\n{said}",
        String::from_utf8_lossy(&got.stdout)
    );
}

#[test]
fn systemd_is_told_when_it_serves_reloads_and_drains() {
    let port = free_port();
    let file = TempFile::new(&format!(
        "listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: fixed_response, fixed_response: {{status_code: 200}}}}]}}]\n"
    ));
    let folder = Folder::default();
    let path = folder.path("notify");
    let manager = UnixDatagram::bind(&path).expect("bound");
    manager.set_read_timeout(Some(DEADLINE)).expect("set");
    let told = || {
        let mut text = [0; 256];
        let length = manager.recv(&mut text).expect("told in time");
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        text.lines().next().map(str::to_owned).expect("a line")
    };
    let config = file.path().to_str().expect("text");
    let mut process = Process::start_with("NOTIFY_SOCKET", path.as_ref(), &["run", "-c", config]);
    assert_eq!(told(), "READY=1");
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(),
        "it accepts"
    );
    process.signal("HUP");
    assert_eq!(told(), "RELOADING=1");
    assert_eq!(told(), "READY=1");
    process.signal("TERM");
    assert_eq!(told(), "STOPPING=1");
    assert!(process.wait().success());
}
