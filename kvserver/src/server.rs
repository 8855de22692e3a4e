//! A whole server: its replicas and its listeners. Listeners and disk are given, so that a
//! simulation can bring its own.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use skv_client::Forwarder;
use skv_disk::Disk;
use skv_disk::clock::Clock;
use skv_disk::entropy;
use skv_listen::{Assembly, Health, Listener, Services};
use skv_memory::Budget;
use skv_net::Addresses;
use skv_net::Connector;
use skv_net::MESSAGE_LIMIT;
use skv_net::STREAM_WINDOW;
use skv_proto::lab::v1::kv_server_server::KvServerServer as LabServer;
use skv_proto::v1::admin_server::AdminServer;
use skv_proto::v1::handoff_server::HandoffServer;
use skv_proto::v1::kv_server::KvServer;
use skv_proto::v1::raft_server::RaftServer;
use skv_replica::Tuning;
use skv_replica::manager::Manager;
use skv_replica::map_copy::MapCopy;
use skv_replica::peer::{HandoffService, RaftService};
use skv_replica::{DataDir, Environment, Pace, Replicas};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::server::Connected;
use tower::util::{MapRequestLayer, MapResponseLayer};

use crate::memory::stream_window;
use crate::metrics::Metrics;
use crate::services::admin::AdminService;
use crate::services::http;
use crate::services::kv::KvService;
use crate::services::lab::LabService;
use crate::services::operations::Operations;

/// The bytes of large messages that a listener puts together at a time, if memory isn't scarce. Users and
/// servers have a listener each, so that no user holds up what the servers of a group send each other.
const ASSEMBLED: usize = 256 << 20;
/// The least of it: one message with the largest value that a group may take, and the session of a shard that
/// moves beside it.
const LEAST_ASSEMBLED: usize = 20 << 20;
// A clerk opens no second connection before the first one has so many calls.
const _: () = assert!(skv_net::CALLS_PER_CONNECTION <= skv_listen::STREAMS as usize);
/// The time limit of a forwarded request.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that open connections have to drain when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// The settings that distinguish this server from others.
pub struct Config {
    /// Its name.
    pub server: String,
    /// The identity of this run of the server.
    pub instance: String,
    /// The groups that it hosts replicas of.
    pub groups: Vec<skv_sharding::GroupId>,
    /// The address for users.
    pub client_address: String,
    /// The address for other servers.
    pub peer_address: String,
    /// The shard managers' names, `HOST:PORT`.
    pub managers: Vec<String>,
    /// The way in which the managers' names are resolved.
    pub resolve: skv_net::Resolve,
    /// The addresses of other servers.
    pub addresses: Arc<Addresses>,
    /// Times and sizes.
    pub tuning: Tuning,
    /// The memory that its data may take.
    pub memory: Budget,
    /// True if operations are printed.
    pub log_operations: bool,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The directory on the disk.
    pub data_dir: PathBuf,
    /// The wall clock.
    pub clock: Clock,
    /// The connector to other servers.
    pub connector: Connector,
    /// More services for users.
    pub beside: Services,
    /// The metrics, which the owner of the listeners also counts in.
    pub metrics: Arc<Metrics>,
}

/// The reason why a server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A replica failed for good.
    #[error(transparent)]
    Replica(#[from] skv_replica::Failed),
    /// A listener failed.
    #[error("the {0} listener failed: {1}")]
    Listener(&'static str, String),
    /// The data directory can't be used.
    #[error("the data directory {}: {source}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// The error of the disk.
        source: io::Error,
    },
}

/// Runs a server until `stop`: then it hands leaderships over, drains and returns. Without a
/// listener for servers, that for users serves both.
pub async fn run<Io>(
    config: Config,
    client_incoming: impl Stream<Item = io::Result<Io>> + Send + 'static,
    peer_incoming: Option<impl Stream<Item = io::Result<Io>> + Send + 'static>,
    http_listener: Option<Listener>,
    stop: CancellationToken,
) -> Result<(), ServerError>
where
    Io: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let Config { disk, data_dir, .. } = &config;
    make_durable(&**disk, data_dir)
        .map_err(|source| ServerError::DataDir { path: data_dir.clone(), source })?;
    let env = Arc::new(environment(&config));
    let replicas = Arc::new(Replicas::new(config.groups));
    let metrics = config.metrics.clone();
    let operations =
        Operations::new(replicas.clone(), env.map.clone(), metrics, config.memory, config.log_operations);
    let forwarder = Arc::new(Forwarder::new(config.connector, FORWARD_TIMEOUT));
    // Listeners outlive the replicas: while leaderships are handed over, requests are answered.
    let closed = CancellationToken::new();
    let (map, clock) = (env.map.clone(), config.clock);
    let kv = KvService::new(operations, replicas.clone(), map, forwarder, clock, closed.clone());
    let (health, health_service) = Health::new().await;
    let for_users = for_users(config.beside, kv).with(health_service);

    let room_for_users = room_for_users(&env.memory, peer_incoming.is_none());
    let mut listeners = JoinSet::new();
    let for_users = if let Some(peer_incoming) = peer_incoming {
        let services = for_servers(Services::default(), &replicas, &env, &closed);
        let room = (assembly(&env.memory, refused_server), STREAM_WINDOW);
        listeners.spawn(serve("peer", services, room, peer_incoming, closed.clone()));
        for_users
    } else {
        for_servers(for_users, &replicas, &env, &closed)
    };
    listeners.spawn(serve("client", for_users, room_for_users, client_incoming, closed.clone()));
    if let Some(listener) = http_listener {
        let pages = http::router(replicas.clone(), env.clone(), config.metrics);
        let pages = axum::serve(listener, pages).with_graceful_shutdown(closed.clone().cancelled_owned());
        listeners.spawn(async move { pages.await.map_err(|e| ServerError::Listener("HTTP", e.to_string())) });
    }
    let mut background = JoinSet::new();
    background.spawn(env.map.clone().follow(env.manager.clone()));
    background.spawn(report_health(replicas.clone(), health));

    let mut lives = JoinSet::new();
    for replica in replicas.iter() {
        lives.spawn(skv_replica::run(env.clone(), replica.clone(), stop.clone()));
    }
    let result = tokio::select! {
        result = all(&mut lives) => result,
        result = all(&mut listeners) => result,
    };
    closed.cancel();
    if result.is_ok() && tokio::time::timeout(DRAIN, all(&mut listeners)).await.is_err() {
        tracing::warn!("connections were still open after {DRAIN:?}");
    }
    result
}

/// Makes the environment that all replicas share.
fn environment(config: &Config) -> Environment {
    let addresses = config.addresses.clone();
    let (disk, dial) = (config.disk.clone(), skv_net::dial(config.connector.clone()));
    let map = MapCopy::open(disk.clone(), config.data_dir.join("shard-map"), addresses.clone());
    config.memory.share_buffers(config.groups.len());
    let usual = skv_log::Options::default();
    let log_options = skv_log::Options {
        segment_bytes: config.tuning.log_segment_bytes,
        cache_bytes: config.memory.buffer(usual.cache_bytes),
        on_written: config.metrics.on_written(),
    };
    let manager = Manager::new(config.managers.clone(), config.resolve.clone(), dial.clone());
    Environment {
        server: config.server.clone(),
        instance: config.instance.clone(),
        client_address: config.client_address.clone(),
        peer_address: config.peer_address.clone(),
        tuning: config.tuning,
        memory: config.memory.clone(),
        data: DataDir::new(disk.clone(), config.data_dir.clone(), log_options),
        disk,
        clock: config.clock.clone(),
        addresses,
        dial,
        manager: Arc::new(manager),
        map,
        pace: Arc::new(Pace::new(config.tuning.transfer_bytes_per_second)),
        handoffs: config.metrics.handoffs(),
    }
}

fn for_users(beside: Services, kv: KvService) -> Services {
    let lab = LabServer::new(LabService::new(kv.clone()))
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let kv =
        KvServer::new(kv).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
    beside.with(kv).with(lab)
}

fn for_servers(
    services: Services,
    replicas: &Arc<Replicas>,
    env: &Arc<Environment>,
    closed: &CancellationToken,
) -> Services {
    let raft = RaftServer::new(RaftService::new(replicas.clone(), closed.clone()))
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let handoff = HandoffServer::new(HandoffService::new(replicas.clone()))
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let admin = AdminServer::new(AdminService::new(replicas.clone(), env.clone()));
    services.with(raft).with(handoff).with(admin)
}

/// The refusal of a large message beside which too many others wait.
const CROWDED: &str = "other large messages wait for their place: send this one again later";

/// Refuses a user's message.
fn refused_user() -> Status {
    skv_proto::Error::Overloaded(CROWDED.to_owned()).into()
}

/// Refuses another server's message. Overload would tell a leader that the disk of its follower is full.
fn refused_server() -> Status {
    skv_proto::Error::Unavailable(CROWDED.to_owned()).into()
}

/// Makes the room for the large messages of users; returns the window of their streams with it. Where servers come
/// to the same port, snapshots and logs come with their usual window.
fn room_for_users(memory: &Budget, with_servers: bool) -> (Assembly, u32) {
    let window = if with_servers { STREAM_WINDOW } else { stream_window(memory) };
    (assembly(memory, refused_user), window)
}

/// Makes the room for the large messages of a listener.
fn assembly(memory: &Budget, refusal: fn() -> Status) -> Assembly {
    Assembly::new(memory.server_buffer(ASSEMBLED).max(LEAST_ASSEMBLED), MESSAGE_LIMIT, refusal)
}

/// Serves a listener's connections until it is closed and they are drained.
async fn serve<Io>(
    name: &'static str,
    services: Services,
    (assembly, window): (Assembly, u32),
    incoming: impl Stream<Item = io::Result<Io>> + Send + 'static,
    closed: CancellationToken,
) -> Result<(), ServerError>
where
    Io: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let failed = |error: &dyn std::error::Error| ServerError::Listener(name, error.to_string());
    let routes = services.described(skv_proto::FILE_DESCRIPTOR_SET).map_err(|e| failed(&e))?;
    let serving = skv_net::server()
        .initial_stream_window_size(window)
        .max_concurrent_streams(skv_listen::STREAMS)
        .layer(MapRequestLayer::new(move |request| assembly.bound(request)))
        .layer(MapResponseLayer::new(skv_listen::explain_unknown_method))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, closed.cancelled_owned());
    serving.await.map_err(|e| failed(&e))
}

/// Makes a directory whose name survives a power loss: else everything in it goes with the name.
fn make_durable(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for ancestor in dir.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
        if disk.exists(ancestor)? {
            break;
        }
        missing.push(ancestor);
    }
    disk.create_dir_all(dir)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        disk.sync_dir(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Waits for all tasks, or for the first that fails.
async fn all<E>(tasks: &mut JoinSet<Result<(), E>>) -> Result<(), ServerError>
where
    ServerError: From<E>,
    E: 'static,
{
    while let Some(result) = tasks.join_next().await {
        match result {
            Ok(result) => result?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(())
}

/// Keeps the standard health service in step with readiness.
async fn report_health(replicas: Arc<Replicas>, mut health: Health<KvServer<KvService>>) {
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tick.tick().await;
        health.tell(replicas.iter().all(|replica| replica.ready().is_ok())).await;
    }
}

/// Returns an instance name, if none is given.
pub fn random_instance() -> String {
    format!("{:016x}", entropy::random_id())
}

/// Returns the address to tell others for a listener that may be bound to all interfaces.
pub fn advertised(given: Option<String>, bound: SocketAddr) -> String {
    given.unwrap_or_else(|| bound.to_string())
}
