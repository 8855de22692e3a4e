//! The HTTP side: `/metrics`, `/livez`, `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use skv_listen::metrics_page;

use crate::metrics::Metrics;

/// Returns the routes. An operator that waits for the Lease is as ready as the one that holds it; one that
/// can't list its objects isn't.
pub(crate) fn routes(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(page))
        .with_state(metrics)
}

/// Names nothing: anybody may ask, and the log has the kinds and the namespaces.
async fn ready(State(metrics): State<Arc<Metrics>>) -> (StatusCode, &'static str) {
    if metrics.health.lacks().is_empty() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "some objects can't be listed, see the log\n")
    }
}

async fn page(State(metrics): State<Arc<Metrics>>, request: HeaderMap) -> impl IntoResponse {
    metrics_page(&request, metrics.encode())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn readiness(metrics: &Arc<Metrics>) -> (StatusCode, String) {
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        let answer = routes(Arc::clone(metrics)).oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn an_operator_that_can_not_list_its_objects_is_not_ready_and_tells_strangers_no_names() {
        let metrics = Arc::new(Metrics::default());
        assert_eq!(readiness(&metrics).await, (StatusCode::OK, "ok\n".to_owned()));
        metrics.health.lost("pods in namespace prod");
        let told = "some objects can't be listed, see the log\n".to_owned();
        assert_eq!(readiness(&metrics).await, (StatusCode::SERVICE_UNAVAILABLE, told));
        metrics.health.found("pods in namespace prod");
        assert_eq!(readiness(&metrics).await.0, StatusCode::OK);
    }
}
