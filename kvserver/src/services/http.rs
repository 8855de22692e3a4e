//! The HTTP listener: /metrics, /livez and /readyz.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use skv_listen::metrics_page;
use skv_replica::Replicas;
use skv_replica::map_copy::MapCopy;

use crate::metrics::Metrics;

/// The state that the pages show.
#[derive(Clone)]
struct Shown {
    replicas: Arc<Replicas>,
    map: Arc<MapCopy>,
    metrics: Arc<Metrics>,
}

/// The pages.
pub(crate) fn router(replicas: Arc<Replicas>, map: Arc<MapCopy>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(page))
        .with_state(Shown { replicas, map, metrics })
}

/// Ready when every replica of the server is.
async fn readyz(State(shown): State<Shown>) -> impl IntoResponse {
    let mut text = String::new();
    let mut code = StatusCode::OK;
    for replica in shown.replicas.iter() {
        let line = match replica.ready() {
            Ok(()) => "ready".to_owned(),
            Err(reason) => {
                code = StatusCode::SERVICE_UNAVAILABLE;
                reason
            }
        };
        let _ = writeln!(text, "{}: {line}", replica.group);
    }
    (code, text)
}

async fn page(State(shown): State<Shown>, request: HeaderMap) -> Response {
    match shown.metrics.encode(&shown.replicas, &shown.map) {
        Ok(text) => metrics_page(&request, text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
