//! What operators can change while the process runs: targets, zones, the configuration, the level
//! of the application log. Nothing of it outlives the process, and a reload leaves it as it is.

use std::sync::OnceLock;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::admin::{Admin, ask, gone};
use crate::control::operator::Change;
use crate::control::run::Message;

/// How long a reload may take.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);

/// The most zones that requests are moved away from by one call.
const ZONES_MAX: usize = 32;

type SetLevel = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

static LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Says how the level of the application log is changed. The first one stays.
pub fn set_level_by(change: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) {
    // The log is started once in a process; a second try means the same.
    LEVEL.set(Box::new(change)).unwrap_or_default();
}

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/targets/drain", post(drain))
        .route("/targets/undrain", post(undrain))
        .route("/targets/weight", post(weight))
        .route("/zonal_shift", post(shift))
        .route("/reload", post(reload))
        .route("/log_level", post(level))
}

fn wrong(what: impl Into<String>) -> Response {
    let what: String = what.into();
    (StatusCode::BAD_REQUEST, Json(json!({ "error": what }))).into_response()
}

fn done() -> Response {
    Json(json!({ "done": true })).into_response()
}

async fn change(admin: &Admin, asked: &Value, change: Change) -> Response {
    let (Some(group), Some(target)) = (asked["target_group"].as_str(), asked["target"].as_str())
    else {
        return wrong(
            "expected {\"target_group\": NAME, \"target\": ID or IP:PORT}, as /targets has them",
        );
    };
    let (group, target) = (group.to_owned(), target.to_owned());
    let asked = ask(admin, |reply| Message::Change(group, target, change, reply));
    match asked.await {
        Some(Ok(())) => done(),
        Some(Err(why)) => (StatusCode::NOT_FOUND, Json(json!({ "error": why }))).into_response(),
        None => gone(),
    }
}

async fn drain(State(admin): State<Admin>, Json(asked): Json<Value>) -> Response {
    change(&admin, &asked, Change::Drained(true)).await
}

async fn undrain(State(admin): State<Admin>, Json(asked): Json<Value>) -> Response {
    change(&admin, &asked, Change::Drained(false)).await
}

async fn weight(State(admin): State<Admin>, Json(asked): Json<Value>) -> Response {
    let weight = match &asked["weight"] {
        Value::Null => None,
        value => match value.as_u64().and_then(|weight| u16::try_from(weight).ok()) {
            Some(weight) if weight <= 999 => Some(weight),
            _ => return wrong("`weight` is 0 to 999, or null for that of the source"),
        },
    };
    change(&admin, &asked, Change::Weight(weight)).await
}

async fn shift(State(admin): State<Admin>, Json(asked): Json<Value>) -> Response {
    let zones = asked["away_from"]
        .as_array()
        .filter(|zones| zones.len() <= ZONES_MAX);
    let zones = zones.and_then(|zones| {
        let all = zones.iter();
        all.map(|zone| zone.as_str().map(str::to_owned)).collect()
    });
    let Some(zones) = zones else {
        return wrong("expected {\"away_from\": [ZONE, …]}; an empty list moves requests back");
    };
    match ask(&admin, |reply| Message::Shift(zones, reply)).await {
        Some(()) => done(),
        None => gone(),
    }
}

async fn reload(State(admin): State<Admin>) -> Response {
    let (reply, answer) = oneshot::channel();
    if admin.reloads.try_send(reply).is_err() {
        let why = "this process does not reload by request, or reloads already";
        return (StatusCode::CONFLICT, Json(json!({ "error": why }))).into_response();
    }
    match tokio::time::timeout(RELOAD_LIMIT, answer).await {
        Ok(Ok(Ok(()))) => done(),
        Ok(Ok(Err(why))) => wrong(why),
        Ok(Err(_)) | Err(_) => {
            let why = "no answer; see the log";
            (StatusCode::GATEWAY_TIMEOUT, Json(json!({ "error": why }))).into_response()
        }
    }
}

async fn level(Json(asked): Json<Value>) -> Response {
    let Some(filter) = asked["filter"].as_str() else {
        return wrong(
            "expected {\"filter\": TEXT}, as RUST_LOG has it, such as \"longshore=debug\"",
        );
    };
    match LEVEL.get().map(|set| set(filter)) {
        Some(Ok(())) => {
            tracing::info!(filter, "the level of the log was changed");
            done()
        }
        Some(Err(why)) => wrong(why),
        None => wrong("this process has no application log"),
    }
}
