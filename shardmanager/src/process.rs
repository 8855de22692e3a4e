//! The shard manager as a process: options, files, sockets, signals, log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use skv_assignment::rules::Settings;
use skv_listen::{Counted, Listener, Shares};
use skv_resource::NodePorts;
use skv_startup::{LogTo, start_log, stop_on_signal};
use tracing::info;

use crate::manager::{self, Environment, Manager};
use crate::options::Options;
use crate::serve::{http_routes, serve};
use crate::store::{self, FileStore, ObjectName};

/// The time that open calls have to finish once the process is asked to stop.
const GRACE: Duration = Duration::from_secs(5);

/// The reason for which the process ends other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No option names the place of the record.
    #[error("neither a data directory nor a ShardMap is given")]
    NoStore,
    /// The Kubernetes API can't be found.
    #[error("can't find the Kubernetes API: {0}")]
    Kubernetes(Box<dyn std::error::Error + Send + Sync>),
    /// This program can't talk to Kubernetes.
    #[error(
        "--kubernetes {}/{}: this shardmanager was built without Kubernetes; build it with its feature `kubernetes`",
        .0.namespace, .0.name
    )]
    NotBuiltIn(ObjectName),
    /// The data directory can't be used.
    #[error(transparent)]
    Directory(#[from] store::OpenError),
    /// The record can't be used.
    #[error(transparent)]
    Manager(#[from] manager::OpenError),
    /// An address can't be listened on.
    #[error("can't listen on {address}: {source}; is it another program's?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Signals can't be received.
    #[error("can't receive signals: {0}")]
    Signals(std::io::Error),
    /// The gRPC server broke.
    #[error("the gRPC server failed: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// The HTTP server broke.
    #[error("the HTTP server failed: {0}")]
    Http(std::io::Error),
}

/// Runs a shard manager until it is asked to stop by SIGTERM or SIGINT.
pub async fn run(options: Options) -> Result<(), Error> {
    start_log(options.log_format, LogTo::Stderr, "info");
    let descriptors = skv_listen::raise_limit();
    let shares = Shares::of(descriptors, options.max_connections);
    let stop = stop_on_signal().map_err(Error::Signals)?;
    let environment = Environment::new(random_id);
    let node_ports = options.first_node_port.map(|first| NodePorts { first });
    let manager = match (&options.kubernetes, &options.data_dir) {
        (Some(object), _) => open_in_kubernetes(object.clone(), options.settings(), environment).await?,
        (None, Some(data_dir)) => {
            let store = FileStore::open(data_dir)?;
            Manager::open(options.settings(), Arc::new(store), environment).await?
        }
        (None, None) => return Err(Error::NoStore),
    };
    let listeners = &manager.metrics().listeners;
    let counted = |name| (name, listeners.of(name));
    let grpc = listen(counted("grpc"), options.listen, shares.users).await?;
    let http = listen(counted("http"), options.http_listen, shares.pages).await?;
    info!(
        listen = %bound(&grpc, options.listen),
        http = %bound(&http, options.http_listen),
        descriptors,
        connections = shares.users,
        map_revision = manager.published().map_or(0, |p| p.map.revision.0),
        "shard manager serves"
    );

    let grpc = serve(manager.clone(), node_ports, grpc.incoming(), stop.clone().cancelled_owned());
    let http = axum::serve(http, http_routes(manager)).with_graceful_shutdown(stop.clone().cancelled_owned());
    let both = async {
        tokio::try_join!(async { grpc.await.map_err(Error::from) }, async { http.await.map_err(Error::Http) })
    };
    tokio::select! {
        ended = both => { ended?; }
        () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => {
            info!("calls that didn't finish are dropped");
        }
    }
    info!("shard manager stopped");
    Ok(())
}

/// Opens a manager on a `ShardMap`.
#[cfg(feature = "kubernetes")]
async fn open_in_kubernetes(
    object: ObjectName,
    settings: Settings,
    environment: Environment,
) -> Result<Manager, Error> {
    let connected = store::KubernetesStore::connect(object).await;
    let store = connected.map_err(|error| Error::Kubernetes(error.into()))?;
    let changes = store.changes();
    let manager = Manager::open(settings, Arc::new(store), environment).await?;
    tokio::spawn(follow(manager.clone(), changes));
    Ok(manager)
}

/// Refuses: there is no client for Kubernetes in this build.
#[cfg(not(feature = "kubernetes"))]
async fn open_in_kubernetes(object: ObjectName, _: Settings, _: Environment) -> Result<Manager, Error> {
    Err(Error::NotBuiltIn(object))
}

/// Shows what other shard managers wrote: any of them serves reads and watches.
#[cfg(feature = "kubernetes")]
async fn follow(manager: Manager, changes: impl futures::Stream<Item = ()>) {
    use futures::StreamExt as _;

    let mut changes = std::pin::pin!(changes);
    while changes.next().await.is_some() {
        if let Err(error) = manager.refresh().await {
            tracing::warn!(%error, "the record can't be read");
        }
    }
}

async fn listen(
    (name, counted): (&'static str, Counted),
    address: SocketAddr,
    limit: usize,
) -> Result<Listener, Error> {
    let listener = Listener::bind(name, address, limit, counted).await;
    listener.map_err(|source| Error::Listen { address, source })
}

/// Returns the address with the port that was found where 0 was asked for.
fn bound(listener: &Listener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

fn random_id() -> u64 {
    loop {
        let id = rand::rng().next_u64();
        if id != 0 {
            return id;
        }
    }
}
