//! The dashboard: a page that shows what `/targets` and `/events` tell, and from which operators
//! drain targets and move requests away from zones. It comes whole out of the
//! binary, and its policy lets it load nothing from anywhere else.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

/// Nothing inline, nothing from elsewhere, and nobody may frame it. The chart library sets sizes in
/// `style` attributes by the document's model, which this allows.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FILES: [(&str, &str, &str); 7] = [
    (
        "/dashboard/",
        "text/html; charset=utf-8",
        include_str!("dashboard/index.html"),
    ),
    (
        "/dashboard/style.css",
        "text/css; charset=utf-8",
        include_str!("dashboard/style.css"),
    ),
    (
        "/dashboard/app.js",
        "text/javascript; charset=utf-8",
        include_str!("dashboard/app.js"),
    ),
    (
        "/dashboard/actions.js",
        "text/javascript; charset=utf-8",
        include_str!("dashboard/actions.js"),
    ),
    (
        "/dashboard/icon.svg",
        "image/svg+xml",
        include_str!("dashboard/icon.svg"),
    ),
    (
        "/dashboard/uplot/uPlot.min.css",
        "text/css; charset=utf-8",
        include_str!("dashboard/uplot/uPlot.min.css"),
    ),
    (
        "/dashboard/uplot/uPlot.iife.min.js",
        "text/javascript; charset=utf-8",
        include_str!("dashboard/uplot/uPlot.iife.min.js"),
    ),
];

/// Its files, below `/dashboard/`; `/` leads there.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let to_it = || get(async || Redirect::temporary("/dashboard/"));
    let mut router = Router::new()
        .route("/", to_it())
        .route("/dashboard", to_it());
    for (path, kind, content) in FILES {
        router = router.route(path, get(async move || file(kind, content)));
    }
    router
}

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        // Another version of the binary has other files under the same names.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}
