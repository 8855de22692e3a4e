//! A shard manager and two groups of one server each, in this process: real sockets on loopback, disks in
//! memory. They serve as well what the lab's programs serve beside them.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::FutureExt as _;
use kvserver::Metrics;
use kvserver::server::{self, Config, ServerError};
use shardmanager::Environment;
use shardmanager::store::MemoryStore;
use skv_client::{Clerk, Options};
use skv_disk::MemoryDisk;
use skv_disk::clock::Clock;
use skv_listen::{Counted, Listener, PAGES};
use skv_memory::Budget;
use skv_net::{Addresses, NamedServer, ServerAddresses};
use skv_proto::v1;
use skv_proto::v1::admin_client::AdminClient;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_replica::Tuning;
use skv_sharding::GroupId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use super::manager::settings;

/// The id of a replica that no server has.
pub(super) const STRANGER: u64 = 4242;
const GROUPS: u32 = 2;
const SHARDS: u32 = 8;
/// As small as servers allow.
const SEGMENT_BYTES: u32 = 4 << 20;
/// The time within which a valid request is answered, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(40);
/// The connections that read the pages of a process at the same time.
const PAGES_CONNECTIONS: usize = 50;
const MANAGERS: &str = "managers:7400";

/// A server.
struct Server {
    client: String,
    peer: String,
    http: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServerError>>,
}

/// All of them. They end when it is dropped.
pub(super) struct World {
    servers: Vec<Server>,
    pub(super) manager: String,
    /// The address of the manager's pages.
    manager_pages: String,
    manager_task: JoinHandle<anyhow::Result<()>>,
    clerk: Clerk,
}

impl Drop for World {
    fn drop(&mut self) {
        self.manager_task.abort();
        for server in &self.servers {
            server.stop.cancel();
            server.task.abort();
        }
    }
}

async fn listener() -> anyhow::Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    Ok((listener, address))
}

/// Returns the listener of a process's pages, and its address.
async fn pages() -> anyhow::Result<(Listener, String)> {
    let listener = Listener::bind("http", "127.0.0.1:0", PAGES_CONNECTIONS, Counted::default()).await?;
    let address = listener.local_addr()?.to_string();
    Ok((listener.with_silence(PAGES), address))
}

impl World {
    /// Starts it, and waits until it serves.
    pub(super) async fn start() -> anyhow::Result<World> {
        let (listening, manager) = listener().await?;
        let (shown, manager_pages) = pages().await?;
        let manager_task = tokio::spawn(run_manager(listening, shown));
        let (mut servers, mut listeners) = (Vec::new(), Vec::new());
        for group in 0..GROUPS {
            listeners.push((format!("kv-g{group}-0"), listener().await?, listener().await?));
        }
        let peers: Vec<NamedServer> = listeners
            .iter()
            .map(|(name, client, peer)| NamedServer {
                name: name.clone(),
                addresses: ServerAddresses { client: client.1.clone(), peer: peer.1.clone() },
            })
            .collect();
        for (group, (name, client, peer)) in (0..).map(GroupId).zip(listeners) {
            servers.push(serve(group, name, client, peer, &peers, &manager).await?);
        }
        let mut options = Options::manager(vec![manager.clone()]);
        options.deadline = PATIENCE;
        let clerk = Clerk::connect(options)?;
        let world = World { servers, manager, manager_pages, manager_task, clerk };
        world.check_serves().await?;
        Ok(world)
    }

    pub(super) fn client(&self, group: usize) -> &str {
        &self.servers[group % self.servers.len()].client
    }

    pub(super) fn peer(&self, group: usize) -> &str {
        &self.servers[group % self.servers.len()].peer
    }

    /// Returns the addresses of all ports.
    pub(super) fn ports(&self) -> Vec<String> {
        let of_server = |server: &Server| [server.client.clone(), server.peer.clone(), server.http.clone()];
        self.servers.iter().flat_map(of_server).chain([self.manager.clone()]).collect()
    }

    /// Returns the addresses of all pages.
    pub(super) fn pages(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.http.clone()).chain([self.manager_pages.clone()]).collect()
    }

    /// Checks that all pages are shown.
    pub(super) async fn check_pages(&self) -> anyhow::Result<()> {
        for address in self.pages() {
            let answer = timeout(PATIENCE, page(&address)).await.context("a page isn't shown")??;
            ensure!(answer.starts_with(b"HTTP/1.1 200"), "a page is {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    }

    /// Returns the status of a server's replica.
    pub(super) async fn status(&self, group: usize) -> anyhow::Result<v1::ReplicaStatus> {
        let asked = async {
            let mut admin = AdminClient::connect(format!("http://{}", self.peer(group))).await?;
            let status = admin.status(v1::StatusRequest {}).await?.into_inner();
            anyhow::Ok(status.replicas.into_iter().next().context("a server has a replica")?)
        };
        timeout(PATIENCE, asked).await?
    }

    /// Returns the shard manager's map.
    pub(super) async fn map(&self) -> anyhow::Result<v1::ShardMap> {
        let asked = async {
            let mut manager = ShardManagerClient::connect(format!("http://{}", self.manager)).await?;
            anyhow::Ok(manager.get_shard_map(v1::GetShardMapRequest {}).await?.into_inner())
        };
        timeout(PATIENCE, asked).await?
    }

    /// Checks that nothing has ended by itself.
    pub(super) fn check_runs(&mut self) -> anyhow::Result<()> {
        for (number, server) in self.servers.iter_mut().enumerate() {
            if let Some(end) = (&mut server.task).now_or_never() {
                let reason = end.map_or_else(|error| error.to_string(), |end| format!("{end:?}"));
                anyhow::bail!("server {number} ended: {reason}");
            }
        }
        ensure!(!self.manager_task.is_finished(), "the shard manager ended");
        Ok(())
    }

    /// Checks that keys of all shards are written and read.
    pub(super) async fn check_serves(&self) -> anyhow::Result<()> {
        for number in 0..SHARDS {
            let key = format!("key{number}");
            self.clerk.put(key.clone(), "value").await.context("a valid request isn't answered")?;
            self.clerk.get(key).await.context("a valid request isn't answered")?;
        }
        Ok(())
    }

    /// Checks that each server and the manager answer, whatever they say of keys.
    pub(super) async fn check_answers(&self) -> anyhow::Result<()> {
        for group in 0..self.servers.len() {
            self.status(group).await.context("a server doesn't tell its status")?;
        }
        self.map().await.context("the shard manager doesn't tell its map")?;
        Ok(())
    }
}

/// Returns the answer of a process that is asked whether it lives.
async fn page(address: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

async fn serve(
    group: GroupId,
    name: String,
    (client, client_address): (TcpListener, String),
    (peer, peer_address): (TcpListener, String),
    peers: &[NamedServer],
    manager: &str,
) -> anyhow::Result<Server> {
    let metrics = Metrics::new();
    let (pages, http) = pages().await?;
    let managers = vec![manager.to_owned()];
    let master: NonZeroU16 = manager.rsplit(':').next().context("an address has a port")?.parse()?;
    let config = Config {
        server: name,
        instance: server::random_instance(),
        groups: vec![group],
        client_address: client_address.clone(),
        peer_address: peer_address.clone(),
        managers: vec![MANAGERS.to_owned()],
        resolve: skv_net::resolver(move |_| {
            let found = managers.clone();
            async move { Ok(found) }
        }),
        addresses: Arc::new(Addresses::fixed(peers.to_vec())),
        memory: Budget::new(None),
        tuning: Tuning { log_segment_bytes: SEGMENT_BYTES, ..Tuning::default() },
        log_operations: false,
        disk: Arc::new(MemoryDisk::new()),
        data_dir: PathBuf::from("/data"),
        clock: Clock::system(),
        connector: skv_net::tcp(),
        beside: skv_lab::server_services(master)?,
        metrics,
    };
    let stop = CancellationToken::new();
    let (client, peer) = (TcpIncoming::from(client), TcpIncoming::from(peer));
    let task = tokio::spawn(server::run(config, client, Some(peer), Some(pages), stop.clone()));
    Ok(Server { client: client_address, peer: peer_address, http, stop, task })
}

async fn run_manager(listener: TcpListener, pages: Listener) -> anyhow::Result<()> {
    let settings = settings(GROUPS, SHARDS);
    let environment = Environment::new(skv_disk::entropy::random_id);
    let manager =
        shardmanager::Manager::open(settings, Arc::new(MemoryStore::default()), environment).await?;
    let beside = skv_lab::master_services(manager.clone(), Path::new("/lab"));
    let shown = axum::serve(pages, shardmanager::http_routes(manager.clone())).into_future();
    let (calls, forever) = (TcpIncoming::from(listener), std::future::pending());
    tokio::select! {
        served = shardmanager::serve_beside(beside, manager, None, calls, forever) => served?,
        shown = shown => shown?,
    }
    Ok(())
}
