//! Serving a manager on listeners that the caller made.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::Stream;
use skv_listen::{Health, Services, metrics_page};
use skv_proto::lab::v1::shard_manager_server::ShardManagerServer as LabServer;
use skv_proto::v1::shard_manager_server::ShardManagerServer;
use skv_resource::NodePorts;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::server::Connected;
use tonic::transport::{self, Server};
use tower::util::MapResponseLayer;

use crate::lab::LabService;
use crate::manager::Manager;
use crate::service::Service;

/// The interval of keepalives: a connection whose other side is gone is closed after one to two of these.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The interval at which the health service looks whether the manager can serve.
const HEALTH_EVERY: Duration = Duration::from_millis(500);

/// The reason for which gRPC isn't served any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The descriptions of the services are damaged.
    #[error("the services can't be described: {0}")]
    Description(tonic_reflection::server::Error),
    /// The server broke.
    #[error(transparent)]
    Transport(#[from] transport::Error),
}

/// Serves gRPC on incoming connections until `shutdown` is done; then lets calls finish. Groups that have
/// `node_ports` are published by these.
pub async fn serve<I, IO, E>(
    manager: Manager,
    node_ports: Option<NodePorts>,
    incoming: I,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error>
where
    I: Stream<Item = Result<IO, E>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    serve_beside(Services::default(), manager, node_ports, incoming, shutdown).await
}

/// Serves the same beside services of the caller's own.
pub async fn serve_beside<I, IO, E>(
    others: Services,
    manager: Manager,
    node_ports: Option<NodePorts>,
    incoming: I,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error>
where
    I: Stream<Item = Result<IO, E>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (health, health_service) = Health::<ShardManagerServer<Service>>::new().await;
    let service = Service::new(manager.clone(), node_ports);
    let services = others
        .with(health_service)
        .with(LabServer::new(LabService::new(service.clone())))
        .with(ShardManagerServer::new(service));
    // The descriptors are compiled in, so that this fails in tests or never.
    let routes = services.described(skv_proto::FILE_DESCRIPTOR_SET).map_err(Error::Description)?;
    let reports = tokio::spawn(report_health(manager.clone(), health));
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(skv_listen::STREAMS)
        .layer(MapResponseLayer::new(skv_listen::explain_unknown_method))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async {
            shutdown.await;
            manager.stop();
        })
        .await;
    reports.abort();
    Ok(served?)
}

/// Keeps the standard health service in step with readiness.
async fn report_health(manager: Manager, mut health: Health<ShardManagerServer<Service>>) {
    let (mut tick, mut stopping) = (tokio::time::interval(HEALTH_EVERY), manager.stopping());
    loop {
        health.tell(problem(&manager).is_none()).await;
        tokio::select! {
            _ = tick.tick() => {}
            Ok(()) = stopping.changed() => {}
        }
    }
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
    match problem(&manager) {
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, problem),
        None => (StatusCode::OK, "ok\n"),
    }
}

/// Returns the reason for which the manager can't take registrations.
fn problem(manager: &Manager) -> Option<&'static str> {
    if *manager.stopping().borrow() {
        Some("stopping\n")
    } else if !manager.metrics().does_store_work() {
        Some("the record can't be used, see the log\n")
    } else {
        None
    }
}

async fn metrics(State(manager): State<Arc<Manager>>, request: HeaderMap) -> impl IntoResponse {
    metrics_page(&request, manager.metrics().encode())
}
