//! A shard manager on a free port, and replicas that register with it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shardmanager::record::Limits;
use shardmanager::rules::{ALIVE, Settings};
use shardmanager::store::{FileStore, MapStore};
use shardmanager::{Environment, Manager, serve};
use skv_proto::v1;
use skv_proto::v1::register_replica_response::Plan;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_resource::NodePorts;
use skv_sharding::{Hash, Policy};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;

pub const SHARDS: u32 = 12;

pub fn settings() -> Settings {
    let limits = Limits {
        max_key_bytes: 100,
        max_value_bytes: 1000,
        max_sessions_per_shard: 10,
        session_ttl_ms: 5000,
    };
    Settings {
        groups: 2,
        replicas: 3,
        shards: SHARDS,
        hash: Hash::Fnv1,
        policy: Policy::Minimal,
        ring: false,
        limits,
    }
}

/// A manager that serves on loopback, and whose clock is moved by hand.
pub struct Server {
    pub address: String,
    pub manager: Manager,
    clock: Arc<AtomicU64>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(settings: Settings, store: impl MapStore) -> Server {
        Server::start_with(settings, store, None).await
    }

    /// Starts a manager whose groups have node ports.
    pub async fn start_with(
        settings: Settings,
        store: impl MapStore,
        node_ports: Option<NodePorts>,
    ) -> Server {
        let clock = Arc::new(AtomicU64::new(0));
        let ticks = Arc::clone(&clock);
        let last_id = AtomicU64::new(rand::random());
        let environment = Environment {
            clock: Box::new(move || Duration::from_millis(ticks.load(Ordering::SeqCst))),
            random_id: Box::new(move || last_id.fetch_add(1, Ordering::SeqCst)),
        };
        let manager = Manager::open(settings, Arc::new(store), environment).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let incoming = TcpListenerStream::new(listener);
        let served = manager.clone();
        let task = tokio::spawn(async move {
            serve(served, node_ports, incoming, async { drop(stopped.await) }).await.unwrap();
        });
        Server { address, manager, clock, stop, task }
    }

    pub async fn on_files(dir: &Path) -> Server {
        Server::start(settings(), FileStore::open(dir).unwrap()).await
    }

    pub async fn client(&self) -> ShardManagerClient<Channel> {
        ShardManagerClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    /// Moves the clock far enough that no replica counts as alive any more.
    pub fn silence(&self) {
        self.wait(ALIVE);
    }

    /// Moves the clock.
    pub fn wait(&self, time: Duration) {
        self.clock.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }

    /// Stops it, and returns when the last connection is closed.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// A replica's knowledge of its group.
#[derive(Debug, Clone)]
pub struct Data {
    pub cluster: u64,
    pub report: v1::GroupReport,
}

/// A replica that follows its orders.
#[derive(Debug, Clone)]
pub struct Replica {
    pub group: u32,
    pub id: u64,
    pub server: String,
    pub port: u32,
    pub data: Option<Data>,
}

impl Replica {
    pub fn new(group: u32, n: u32) -> Replica {
        let port = 5000 + group * 100 + n;
        Replica { group, id: u64::from(port), server: format!("kv-g{group}-{n}"), port, data: None }
    }

    /// Returns another replica, empty, on the same server.
    pub fn successor(&self) -> Replica {
        Replica { id: self.id + 10_000, port: self.port + 10_000, data: None, ..self.clone() }
    }

    pub fn describe(&self) -> v1::Replica {
        v1::Replica {
            id: self.id,
            server: self.server.clone(),
            client_address: format!("127.0.0.1:{}", self.port),
            peer_address: format!("127.0.0.1:{}", self.port + 1000),
            instance: self.id.to_string(),
        }
    }

    pub fn registration(&self) -> v1::RegisterReplicaRequest {
        v1::RegisterReplicaRequest {
            group: self.group,
            replica: Some(self.describe()),
            cluster_id: self.data.as_ref().map_or(0, |data| data.cluster),
            report: self.data.as_ref().map(|data| data.report.clone()),
            map_revision: 0,
        }
    }

    pub async fn register(
        &self,
        client: &mut ShardManagerClient<Channel>,
    ) -> Result<v1::RegisterReplicaResponse, skv_proto::Error> {
        match client.register_replica(self.registration()).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(skv_proto::Error::from_status(&status).expect("a typed error")),
        }
    }

    /// Registers and follows a founding order.
    pub async fn obey(&mut self, client: &mut ShardManagerClient<Channel>) -> Plan {
        let response = self.register(client).await.unwrap();
        let plan = response.plan.unwrap();
        if let Plan::Bootstrap(record) = &plan {
            let report = v1::GroupReport {
                group_uid: record.group_uid,
                incarnation: 0,
                members: record.members.clone(),
                shards_owned: record.shards_owned.clone(),
                obeyed_version: response.manager_version,
                shards: record.shards,
                hash: record.hash,
                confirmed: false,
                term: 1,
                leader: 0,
                highest_epoch: 0,
                retired: false,
                ..v1::GroupReport::default()
            };
            self.data = Some(Data { cluster: response.cluster_id, report });
        }
        plan
    }

    pub fn report(&mut self) -> &mut v1::GroupReport {
        &mut self.data.as_mut().unwrap().report
    }

    /// Has the replica report from now on that it leads.
    pub fn lead(&mut self, term: u64) {
        let id = self.id;
        let report = self.report();
        (report.confirmed, report.term, report.leader) = (true, term, id);
    }
}

/// Founds two groups of three; the first of each leads.
pub async fn found(client: &mut ShardManagerClient<Channel>) -> Vec<Replica> {
    found_groups(client, 2, 3).await
}

/// Founds this many groups of this many replicas; the first of each leads.
pub async fn found_groups(
    client: &mut ShardManagerClient<Channel>,
    groups: u32,
    replicas: u32,
) -> Vec<Replica> {
    let mut all: Vec<Replica> =
        (0..groups).flat_map(|group| (0..replicas).map(move |n| Replica::new(group, n))).collect();
    for _ in 0..2 {
        for replica in &mut all {
            replica.obey(client).await;
        }
    }
    for leader in all.iter_mut().step_by(replicas as usize) {
        leader.lead(1);
    }
    for replica in &mut all {
        assert!(matches!(replica.obey(client).await, Plan::Serve(_)));
    }
    all
}

pub async fn map(client: &mut ShardManagerClient<Channel>) -> v1::ShardMap {
    client.get_shard_map(v1::GetShardMapRequest {}).await.unwrap().into_inner()
}

/// Returns the group of each shard.
pub fn owners(ranges: &[v1::ShardRange]) -> Vec<u32> {
    ranges.iter().flat_map(|range| std::iter::repeat_n(range.group, range.count as usize)).collect()
}
