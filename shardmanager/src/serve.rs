//! Serving a manager on listeners that the caller made.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::Stream;
use skv_proto::lab::v1::shard_manager_server::ShardManagerServer as LabServer;
use skv_proto::v1::shard_manager_server::ShardManagerServer;
use skv_resource::NodePorts;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::service::Routes;
use tonic::transport::server::Connected;
use tonic::transport::{self, Server};

use crate::lab::LabService;
use crate::manager::Manager;
use crate::service::Service;

/// The interval of keepalives: a connection whose other side is gone is closed after one to two of these.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Serves gRPC on incoming connections until `shutdown` is done; then lets calls finish. Groups that have
/// `node_ports` are published by these.
pub async fn serve<I, IO, E>(
    manager: Manager,
    node_ports: Option<NodePorts>,
    incoming: I,
    shutdown: impl Future<Output = ()>,
) -> Result<(), transport::Error>
where
    I: Stream<Item = Result<IO, E>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    serve_beside(Routes::default(), manager, node_ports, incoming, shutdown).await
}

/// Serves the same beside services of the caller's own.
pub async fn serve_beside<I, IO, E>(
    others: Routes,
    manager: Manager,
    node_ports: Option<NodePorts>,
    incoming: I,
    shutdown: impl Future<Output = ()>,
) -> Result<(), transport::Error>
where
    I: Stream<Item = Result<IO, E>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ShardManagerServer<Service>>().await;
    let services = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(skv_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Both versions of reflection: older tools know only the first. The descriptors are
    // compiled in, so that building either fails in tests or never.
    let (reflection, old_reflection) = (services().build_v1().ok(), services().build_v1alpha().ok());
    let service = Service::new(manager.clone(), node_ports);
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_routes(others)
        .add_service(health_service)
        .add_optional_service(reflection)
        .add_optional_service(old_reflection)
        .add_service(LabServer::new(LabService::new(service.clone())))
        .add_service(ShardManagerServer::new(service))
        .serve_with_incoming_shutdown(incoming, async {
            shutdown.await;
            health.set_not_serving::<ShardManagerServer<Service>>().await;
            manager.stop();
        })
        .await
}

/// Returns the routes of the HTTP side: `/metrics`, `/livez`, `/readyz`.
pub fn http_routes(manager: Manager) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(manager))
}

/// Reports the manager ready once it can take registrations: without them there would never be a map, so
/// that a map can't be the condition.
async fn ready(State(manager): State<Arc<Manager>>) -> (StatusCode, &'static str) {
    if *manager.stopping().borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if !manager.metrics().does_store_work() {
        (StatusCode::SERVICE_UNAVAILABLE, "the record can't be used, see the log\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics(State(manager): State<Arc<Manager>>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], manager.metrics().encode())
}
