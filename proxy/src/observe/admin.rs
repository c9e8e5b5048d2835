//! The admin server: `/livez`, `/readyz`, `/metrics`, `/targets`, `/events`, `/requests`, the
//! dashboard, and what operators change. Runs on a thread of its own that stands back behind all
//! others, so that a long scrape never stands in the way of a request or of the control task.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rustix::process::{getpriority_process, setpriority_process};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::actions;
use super::admin_server;
use super::dashboard;
use super::guard::{Guard, Refused};
use super::journal::{self, Entry};
use super::log_writer::LogCounts;
use super::pieces::{PIECE, Pieces};
use super::scrape::Scrape;
use super::snapshot_view::View;
use crate::app::dropped;
use crate::control::run::Message;
use crate::control::snapshot::Shared;
use crate::serve::worker::{Handle, Order};

/// What the handlers ask.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) control: mpsc::Sender<Message>,
    pub(crate) workers: Arc<[Handle]>,
    pub(crate) shared: Arc<Shared>,
    /// Traffic is accepted, and the process does not drain.
    pub(crate) ready: Arc<AtomicBool>,
    /// Whose turn it is to scrape.
    pub(crate) scrapes: Arc<Semaphore>,
    pub(crate) guard: Guard,
    /// Where reloads are asked for.
    pub(crate) reloads: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
    /// What became of lines of logs.
    pub(crate) log_counts: LogCounts,
    /// What became of connections of this server.
    pub(crate) connections: Arc<admin_server::Counts>,
}

/// How far the thread stands behind workers. It has a tenth of the weight of one, so that a processor
/// that is never idle still answers a supervisor within milliseconds, and a scrape within seconds.
const NICER: i32 = 10;

/// The lowest priority there is.
const LEAST: i32 = 19;

/// Serves until nobody wants it any more.
///
/// # Errors
/// If the runtime cannot be made, or the socket cannot be used.
pub(crate) fn run(
    socket: TcpListener,
    admin: Admin,
    unwanted: watch::Receiver<()>,
) -> io::Result<()> {
    // Of this thread alone and those that it starts. It can do without.
    if let Err(error) = stand_back() {
        tracing::debug!(%error, "the admin server has the priority of the others");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            served = serve(socket, admin) => {
                let Err(error) = served;
                tracing::error!(%error, "the admin server has ended");
            }
            () = dropped(unwanted) => {}
        }
    });
    Ok(())
}

/// Gives this thread less of the processor than it has: Linux knows priorities of threads, where the
/// names say process.
fn stand_back() -> rustix::io::Result<()> {
    let own = getpriority_process(None)?;
    setpriority_process(None, (own + NICER).min(LEAST))
}

async fn serve(socket: TcpListener, admin: Admin) -> io::Result<Infallible> {
    let connections = Arc::clone(&admin.connections);
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/targets", get(targets))
        .route("/events", get(events))
        .route("/requests", get(requests))
        .route("/config", get(config))
        .route("/snapshot", get(snapshot))
        .route("/openapi.json", get(openapi))
        .merge(actions::routes())
        .merge(dashboard::routes())
        .layer(middleware::from_fn_with_state(admin.clone(), guarded))
        .with_state(admin);
    let socket = tokio::net::TcpListener::from_std(socket)?;
    Ok(admin_server::serve(socket, router, connections).await)
}

/// Answers those who may ask.
async fn guarded(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let judged = admin
        .guard
        .judge(request.method(), request.uri().path(), request.headers());
    match judged {
        Ok(()) => next.run(request).await,
        Err(Refused::Token) => {
            let ask = [(WWW_AUTHENTICATE, "Basic realm=\"longshore\", Bearer")];
            (
                StatusCode::UNAUTHORIZED,
                ask,
                "the token of `admin.token` is needed\n",
            )
                .into_response()
        }
        Err(Refused::Host) => {
            let why = "call this server by its address, or add its name to `admin.allowed_hosts`\n";
            (StatusCode::FORBIDDEN, why).into_response()
        }
        Err(Refused::Site) => (
            StatusCode::FORBIDDEN,
            "this came from a page of another site\n",
        )
            .into_response(),
    }
}

/// The control task answers, whatever it says.
async fn livez(State(admin): State<Admin>) -> Response {
    match ask(&admin, Message::Ready).await {
        Some(_) => "ok\n".into_response(),
        None => gone(),
    }
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let not_ready = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if !admin.ready.load(Ordering::Acquire) {
        return not_ready("not ready\n".to_owned());
    }
    match ask(&admin, Message::Ready).await {
        Some(None) => "ok\n".into_response(),
        Some(Some(why)) => not_ready(format!("not ready: {why}\n")),
        None => gone(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    // One after the other: each takes memory for its text.
    let Ok(_turn) = admin.scrapes.acquire().await else {
        return gone();
    };
    let Some(figures) = ask(&admin, Message::Figures).await else {
        return gone();
    };
    let workers = admin.workers.iter();
    let scrape = Scrape {
        workers: workers
            .clone()
            .map(|one| Arc::clone(&one.metrics))
            .collect(),
        connections: workers.map(|one| one.connections.get() as u64).collect(),
        figures,
        logs: [
            admin.log_counts.access.get(),
            admin.log_counts.connections.get(),
            admin.log_counts.checks.get(),
        ],
        admin_connections: admin.connections.get(),
    };
    // On a thread of its own, with the same priority: with many groups and rules it is work for
    // milliseconds, and others may ask meanwhile. Targets, of which there are more, follow in pieces.
    let rendered = tokio::task::spawn_blocking(move || scrape.render()).await;
    match rendered {
        Ok(Ok((text, mut lines))) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            let pieces = Pieces::new(text, move || lines.write(PIECE));
            ([(CONTENT_TYPE, kind)], Body::new(pieces)).into_response()
        }
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}

async fn targets(State(admin): State<Admin>) -> Response {
    match ask(&admin, Message::View).await {
        Some(view) => Json(view).into_response(),
        None => gone(),
    }
}

/// The file in force as it was written, without secrets.
async fn config(State(admin): State<Admin>) -> Response {
    match ask(&admin, Message::Written).await {
        Some(written) => Json(written.value()).into_response(),
        None => gone(),
    }
}

/// What requests see now.
async fn snapshot(State(admin): State<Admin>) -> Response {
    let view = View::from(&**admin.shared.load());
    Json(view).into_response()
}

/// What this server answers, for programs that read that.
async fn openapi() -> Response {
    let kind = [(CONTENT_TYPE, "application/json")];
    (kind, include_str!("openapi.json")).into_response()
}

/// `/events`
#[derive(Serialize)]
struct Events {
    /// The number of the latest event; smaller than a known one after a restart.
    newest: u64,
    events: Vec<Entry>,
}

/// `after`: the number of the last event that is known already.
async fn events(Query(numbers): Query<BTreeMap<String, u64>>) -> Json<Events> {
    let after = numbers.get("after").copied().unwrap_or(0);
    Json(Events {
        newest: journal::newest(),
        events: journal::since(after),
    })
}

/// How long the workers have to tell of their requests. One that is busier than that is left out.
const RECALL_LIMIT: Duration = Duration::from_secs(2);

/// The most requests in one answer: each is read by the worker that served it, beside those that it
/// serves.
const RECALL_MAX: usize = 1_000;

/// The latest requests. `trace`: those whose trace identifier has this in it, or of that
/// connection; `limit`: at most so many.
async fn requests(
    State(admin): State<Admin>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Json<Vec<serde_json::Value>> {
    let about = asked.get("trace").cloned();
    let limit = asked.get("limit").and_then(|limit| limit.parse().ok());
    let most = limit.unwrap_or(100).min(RECALL_MAX);
    let mut found = Vec::new();
    for worker in &*admin.workers {
        let (reply, answer) = oneshot::channel();
        if worker
            .orders
            .try_send(Order::Recall(about.clone(), most, reply))
            .is_err()
        {
            continue;
        }
        if let Ok(Ok(some)) = tokio::time::timeout(RECALL_LIMIT, answer).await {
            found.extend(some);
        }
    }
    let time = |request: &serde_json::Value| request["time"].as_str().map(str::to_owned);
    found.sort_by_key(|request| std::cmp::Reverse(time(request)));
    found.truncate(most);
    Json(found)
}

pub(super) async fn ask<T>(
    admin: &Admin,
    message: impl FnOnce(oneshot::Sender<T>) -> Message,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    admin.control.send(message(reply)).await.ok()?;
    answer.await.ok()
}

pub(super) fn gone() -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "the control task has ended\n",
    )
        .into_response()
}
