//! Shard managers and one group of three servers in this process: real sockets on loopback,
//! disks in memory.

use std::future::Future;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kvserver::Metrics;
use kvserver::server::{self, Config, ServerError};
use shardmanager::record::Limits;
use shardmanager::rules::Settings;
use shardmanager::store::MemoryStore;
use skv_client::{Clerk, Options};
use skv_disk::MemoryDisk;
use skv_disk::clock::Clock;
use skv_listen::Services;
use skv_memory::Budget;
use skv_net::{Addresses, NamedServer, ServerAddresses};
use skv_proto::v1;
use skv_proto::v1::admin_client::AdminClient;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_raft::header::FEATURE_LEVEL;
use skv_replica::Tuning;
use skv_sharding::{GroupId, Hash, Policy};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;
use tracing_subscriber::EnvFilter;

/// The time that a condition may take to come true on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// As small as the server allows, so that a disk is soon full.
const SEGMENT_BYTES: u32 = 4 << 20;

/// The one name of all shard managers.
const MANAGERS: &str = "managers:7400";

/// A server.
pub(crate) struct Server {
    pub(crate) disk: MemoryDisk,
    identity: Identity,
    stop: CancellationToken,
    /// `None` once its end was awaited.
    task: Option<JoinHandle<Result<(), ServerError>>>,
}

/// The part of a server that stays the same when it is started again.
#[derive(Debug, Clone)]
struct Identity {
    name: String,
    group: GroupId,
    client_address: String,
    peer_address: String,
    peers: Vec<NamedServer>,
    /// The addresses to which [`MANAGERS`] resolves.
    managers: Vec<String>,
    /// The bytes of memory that it may use.
    memory: Option<u64>,
    /// The level of its abilities, by which versions differ.
    feature_level: u32,
}

/// The cluster. Everything ends when it is dropped.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
    managers: Vec<String>,
    manager_tasks: Vec<JoinHandle<()>>,
    /// The managers' record.
    record: MemoryStore,
    /// Sockets that hold the addresses: the system gives the port of a server that is away to nobody else.
    held: Vec<TcpSocket>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.manager_tasks.iter().for_each(JoinHandle::abort);
        for server in &self.servers {
            server.stop.cancel();
            server.task.iter().for_each(JoinHandle::abort);
        }
    }
}

impl Cluster {
    /// Three servers and a shard manager, ready.
    pub(crate) async fn start() -> Self {
        Cluster::with_managers(1).await
    }

    /// Three servers, ready, and so many shard managers over one record. Their name leads each
    /// server to another one of them first.
    pub(crate) async fn with_managers(count: usize) -> Self {
        // RUST_LOG shows what the servers do.
        let _ = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).try_init();
        let mut cluster = Cluster {
            servers: Vec::new(),
            managers: Vec::new(),
            manager_tasks: Vec::new(),
            record: MemoryStore::default(),
            held: Vec::new(),
        };
        for _ in 0..count {
            let (listener, address) = cluster.listener().await;
            cluster.managers.push(address);
            cluster.manager_tasks.push(tokio::spawn(run_manager(listener, cluster.record.clone())));
        }
        cluster.start_group().await;
        for index in 0..3 {
            cluster.await_status(index, "is ready", |status| status.ready).await;
        }
        cluster
    }

    /// Returns a listener, and its address, which stays the cluster's when the listener has ended.
    async fn listener(&mut self) -> (TcpListener, String) {
        let held = TcpSocket::new_v4().unwrap();
        held.set_reuseaddr(true).unwrap();
        held.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = held.local_addr().unwrap().to_string();
        self.held.push(held);
        (TcpListener::bind(&address).await.unwrap(), address)
    }

    /// Ends all shard managers.
    pub(crate) async fn stop_managers(&mut self) {
        for task in self.manager_tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }

    /// Starts the shard managers again, where they were.
    pub(crate) async fn start_managers(&mut self) {
        for address in &self.managers {
            let listener = TcpListener::bind(address).await.unwrap();
            self.manager_tasks.push(tokio::spawn(run_manager(listener, self.record.clone())));
        }
    }

    /// Starts the three servers of one more group.
    pub(crate) async fn start_group(&mut self) {
        let (group, count) = (GroupId(self.servers.len() as u32 / 3), self.managers.len());
        let mut listeners = Vec::new();
        for index in 0..3 {
            let (client, peer) = (self.listener().await, self.listener().await);
            listeners.push((format!("kv-{group}-{index}"), client, peer));
        }
        let peers: Vec<NamedServer> = listeners
            .iter()
            .map(|(name, client, peer)| NamedServer {
                name: name.clone(),
                addresses: ServerAddresses { client: client.1.clone(), peer: peer.1.clone() },
            })
            .collect();
        for (index, (name, client, peer)) in listeners.into_iter().enumerate() {
            let mut found = self.managers.clone();
            found.rotate_left(index % count);
            let identity = Identity {
                name,
                group,
                client_address: client.1,
                peer_address: peer.1,
                peers: peers.clone(),
                managers: found,
                memory: None,
                feature_level: FEATURE_LEVEL,
            };
            self.servers.push(Server::start(identity, MemoryDisk::new(), client.0, peer.0));
        }
    }

    /// The shard manager.
    pub(crate) async fn manager(&self) -> ShardManagerClient<Channel> {
        ShardManagerClient::connect(format!("http://{}", self.managers[0])).await.unwrap()
    }

    /// A clerk that gives up soon: for calls that are expected to be refused.
    pub(crate) fn clerk(&self, deadline: Duration) -> Clerk {
        let mut options = Options::manager(self.managers.clone());
        options.deadline = deadline;
        Clerk::connect(options).unwrap()
    }

    pub(crate) async fn admin(&self, index: usize) -> Option<AdminClient<Channel>> {
        AdminClient::connect(self.peer_url(index)).await.ok()
    }

    pub(crate) async fn status(&self, index: usize) -> Option<v1::ReplicaStatus> {
        let status = self.admin(index).await?.status(v1::StatusRequest {}).await.ok()?;
        status.into_inner().replicas.pop()
    }

    /// The bytes of memory that a server counts.
    pub(crate) async fn memory_used(&self, index: usize) -> u64 {
        let status = self.admin(index).await.unwrap().status(v1::StatusRequest {}).await.unwrap();
        status.into_inner().memory_used_bytes
    }

    /// Lets a server hand the leadership to a replica.
    pub(crate) async fn transfer_leader(&self, from: usize, to: u64) {
        let meant = self.status(from).await.unwrap().identity();
        let request = v1::TransferLeaderRequest { group: 0, to, meant };
        self.admin(from).await.unwrap().transfer_leader(request).await.unwrap();
    }

    /// Returns the URL at which clerks reach a server.
    pub(crate) fn client_url(&self, index: usize) -> String {
        format!("http://{}", self.servers[index].identity.client_address)
    }

    /// Returns the URL at which servers reach a server.
    pub(crate) fn peer_url(&self, index: usize) -> String {
        format!("http://{}", self.servers[index].identity.peer_address)
    }

    /// Stops a server, and waits for its end.
    pub(crate) async fn stop_and_wait(&mut self, index: usize) {
        self.stop(index);
        self.servers[index].ended().await;
    }

    /// Stops a server for good.
    pub(crate) fn stop(&self, index: usize) {
        self.servers[index].stop.cancel();
    }

    pub(crate) async fn await_status(
        &self,
        index: usize,
        what: &str,
        condition: impl Fn(&v1::ReplicaStatus) -> bool,
    ) {
        until(&format!("server {index} {what}"), || async {
            self.status(index).await.is_some_and(|status| condition(&status))
        })
        .await;
    }

    /// Waits until a server has a new replica in the place of this one, which isn't needed any more.
    pub(crate) async fn await_successor(&self, index: usize, old: u64) {
        let is_ready = |status: &v1::ReplicaStatus| status.ready && status.replica != old;
        self.await_status(index, "has a new replica that is ready", is_ready).await;
    }

    /// The server that leads the first group, once there is one.
    pub(crate) async fn leader(&self) -> usize {
        self.leader_of(0).await
    }

    /// The server that leads a group, once there is one.
    pub(crate) async fn leader_of(&self, group: usize) -> usize {
        for attempt in 0.. {
            let index = group * 3 + attempt % 3;
            if self.status(index).await.is_some_and(|status| status.leads_a_quorum()) {
                return index;
            }
            assert!(attempt < 3000, "nobody leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!()
    }

    /// Returns true if a server has ended by itself.
    pub(crate) fn has_ended(&self, index: usize) -> bool {
        self.servers[index].task.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Server {
    fn start(identity: Identity, disk: MemoryDisk, client: TcpListener, peer: TcpListener) -> Self {
        let Identity { name, group, client_address, peer_address, peers, managers, memory, feature_level } =
            identity.clone();
        let config = Config {
            server: name,
            instance: server::random_instance(),
            groups: vec![group],
            client_address,
            peer_address,
            managers: vec![MANAGERS.to_owned()],
            resolve: skv_net::resolver(move |name| {
                assert_eq!(name, MANAGERS);
                let found = managers.clone();
                async move { Ok(found) }
            }),
            addresses: Arc::new(Addresses::fixed(peers)),
            memory: Budget::new(memory),
            tuning: Tuning { log_segment_bytes: SEGMENT_BYTES, feature_level, ..Tuning::default() },
            log_operations: false,
            disk: Arc::new(disk.clone()),
            data_dir: PathBuf::from("/data"),
            clock: Clock::system(),
            connector: skv_net::tcp(),
            beside: Services::default(),
            metrics: Metrics::new(),
        };
        let stop = CancellationToken::new();
        let run =
            server::run(config, TcpIncoming::from(client), Some(TcpIncoming::from(peer)), None, stop.clone());
        Server { disk, identity, stop, task: Some(tokio::spawn(run)) }
    }

    /// Waits until it has stopped as it should.
    async fn ended(&mut self) {
        if let Some(task) = self.task.take() {
            task.await.unwrap().unwrap();
        }
    }

    /// Stops it and starts it again with an empty disk.
    pub(crate) async fn lose_disk(&mut self) {
        self.start_again(MemoryDisk::new()).await;
    }

    /// Stops it, if it runs, and starts it again with what it had.
    pub(crate) async fn restart(&mut self) {
        self.start_again(self.disk.clone()).await;
    }

    /// Stops it, if it runs, and starts it again with this disk.
    pub(crate) async fn restart_with(&mut self, disk: MemoryDisk) {
        self.start_again(disk).await;
    }

    /// Starts it again with a limit of its memory, or without one.
    pub(crate) async fn limit_memory(&mut self, bytes: Option<u64>) {
        self.identity.memory = bytes;
        self.restart().await;
    }

    /// Starts it again as a version that has this level of abilities.
    pub(crate) async fn update(&mut self, feature_level: u32) {
        self.identity.feature_level = feature_level;
        self.restart().await;
    }

    async fn start_again(&mut self, disk: MemoryDisk) {
        self.stop.cancel();
        self.ended().await;
        let bind = async |address: &String| TcpListener::bind(address).await.unwrap();
        let (client, peer) =
            (bind(&self.identity.client_address).await, bind(&self.identity.peer_address).await);
        *self = Server::start(self.identity.clone(), disk, client, peer);
    }
}

async fn run_manager(listener: TcpListener, store: MemoryStore) {
    let limits = Limits {
        max_key_bytes: 4 << 10,
        max_value_bytes: 1 << 20,
        max_sessions_per_shard: 1000,
        session_ttl_ms: 600_000,
    };
    let settings = Settings {
        groups: 1,
        replicas: 3,
        shards: 8,
        hash: Hash::Fnv1,
        policy: Policy::Minimal,
        ring: false,
        limits,
    };
    let environment = shardmanager::Environment::new(skv_disk::entropy::random_id);
    let manager = shardmanager::Manager::open(settings, Arc::new(store), environment).await.unwrap();
    shardmanager::serve(manager, None, TcpIncoming::from(listener), std::future::pending()).await.unwrap();
}

/// Waits for a condition.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "it never came true that {what}");
}
