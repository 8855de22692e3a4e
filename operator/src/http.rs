//! The HTTP side: `/metrics`, `/livez`, `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;
use skv_listen::metrics_page;

use crate::metrics::Metrics;

/// Returns the routes. An operator that waits for the Lease is as ready as the one that holds it.
pub(crate) fn routes(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }))
        .route("/metrics", get(page))
        .with_state(metrics)
}

async fn page(State(metrics): State<Arc<Metrics>>, request: HeaderMap) -> impl IntoResponse {
    metrics_page(&request, metrics.encode())
}
