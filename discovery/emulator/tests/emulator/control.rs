//! The surface for people with curl.

use crate::lab::{CLUSTER, Lab, fetch, quick};

async fn call(lab: &Lab, method: &str, path: &str) -> (u16, serde_json::Value) {
    let answer = fetch(lab.emulator.address(), method, path).await;
    let answer = answer.expect("the emulator answers");
    let body = serde_json::from_str(answer.body()).expect("the answer is JSON");
    (answer.status().as_u16(), body)
}

#[tokio::test]
async fn tasks_are_shown_and_stopped_and_services_scaled_with_curl() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 2).await;
    let (status, body) = call(&lab, "GET", "/_emulator/tasks").await;
    assert_eq!(status, 200);
    let shown = &body["tasks"][0];
    assert_eq!(shown["id"], tasks[0].id.as_str());
    assert_eq!(shown["last_status"], "RUNNING");
    assert_eq!(shown["addresses"][0], tasks[0].addresses[0].to_string());

    let path = format!("/_emulator/services/{CLUSTER}/web/scale?desired=3");
    let (status, _) = call(&lab, "POST", &path).await;
    assert_eq!(status, 200);
    lab.serving("web", 3).await;

    let (status, body) = call(&lab, "POST", "/_emulator/tasks/any/stop?service=web").await;
    assert_eq!(status, 200);
    assert_eq!(body["task"]["id"], tasks[0].id.as_str());
    assert_eq!(body["task"]["desired_status"], "STOPPED");
    let path = format!("/_emulator/tasks/{}/crash", tasks[1].id);
    let (status, _) = call(&lab, "POST", &path).await;
    assert_eq!(status, 200);
    lab.until("both are replaced", |now| {
        let old = |id: &str| tasks[..2].iter().any(|task| task.id == id);
        let serving = now.iter().filter(|task| task.is_serving());
        let new = serving.filter(|task| !old(&task.id)).count();
        (new == 3).then_some(())
    })
    .await;

    lab.emulator
        .register_task_definition(longshore_emulator::TaskDefinition::bridge("web", 80));
    let path = format!("/_emulator/services/{CLUSTER}/web/deploy?definition=web:2");
    assert_eq!(call(&lab, "POST", &path).await.0, 200);
    let id = tasks[0].ec2_instance_id.clone().expect("it is on a host");
    let path = format!("/_emulator/hosts/{id}/drain");
    assert_eq!(call(&lab, "POST", &path).await.0, 200);
    let path = format!("/_emulator/hosts/{id}/lose");
    assert_eq!(call(&lab, "POST", &path).await.0, 200);
    assert_eq!(call(&lab, "GET", "/_emulator/calls").await.0, 200);
}

#[tokio::test]
async fn wrong_names_get_clear_errors() {
    let lab = Lab::new(quick(), 1).await;
    lab.service("web", 0).await;
    for (method, path, status, message) in [
        ("GET", "/_emulator/none", 404, "there is nothing here"),
        ("GET", "/_emulator/tasks/any/stop", 405, "use POST"),
        ("POST", "/_emulator/tasks/any/stop", 409, "no task runs"),
        ("POST", "/_emulator/tasks/any/stop?service=a", 404, "\"a\""),
        ("POST", "/_emulator/tasks/abc/stop", 404, "\"abc\""),
        ("POST", "/_emulator/hosts/abc/drain", 404, "\"abc\""),
        (
            "POST",
            "/_emulator/services/demo/none/scale?desired=1",
            404,
            "\"none\"",
        ),
        (
            "POST",
            "/_emulator/services/none/web/scale?desired=1",
            404,
            "\"none\"",
        ),
        (
            "POST",
            "/_emulator/services/demo/web/scale?desired=many",
            400,
            "\"many\"",
        ),
        (
            "POST",
            "/_emulator/services/demo/web/scale",
            400,
            "desired must be a number",
        ),
    ] {
        let (code, body) = call(&lab, method, path).await;
        assert_eq!(code, status, "{method} {path}");
        let error = body["error"].as_str().expect("it says what is wrong");
        assert!(error.contains(message), "{error}");
    }
    let lost = fetch(lab.emulator.address(), "GET", "/").await;
    assert_eq!(lost.expect("it answers").status(), 404);
}
