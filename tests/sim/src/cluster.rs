//! Two shard managers and groups of three servers on a simulated network, and the faults that
//! befall them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{anyhow, bail};
use kvserver::addresses::{Addresses, NamedServer, ServerAddresses};
use kvserver::clock::Clock;
use kvserver::disk::MemoryDisk;
use kvserver::options::Tuning;
use kvserver::server::{self, Config};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use shardmanager::record::Limits;
use shardmanager::rules::Settings;
use shardmanager::store::MemoryStore;
use skv_sharding::{GroupId, Hash, Policy};
use tokio_util::sync::CancellationToken;

use crate::{net, operator};

/// Servers of a group.
pub(crate) const SERVERS: usize = 3;
/// The number of shards.
pub(crate) const SHARDS: u32 = 16;
/// The shard managers' hosts; they share one record.
const MANAGERS: [&str; 2] = ["manager-0", "manager-1"];
const CLIENT_PORT: u16 = 7000;
const PEER_PORT: u16 = 7001;
const MANAGER_PORT: u16 = 7100;
/// The simulated time begins here, in ms since 1970.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// Small, so that segments and snapshots come and go while the simulation runs.
const SEGMENT_BYTES: u32 = 1 << 20;
const SNAPSHOT_BYTES: u64 = 16 << 10;

const LIMITS: Limits = Limits {
    max_key_bytes: 4 << 10,
    max_value_bytes: 1 << 20,
    max_sessions_per_shard: 1000,
    session_ttl_ms: 600_000,
};

/// A disk that outlives its host.
#[derive(Debug, Clone, Default)]
struct DiskSlot(Arc<Mutex<MemoryDisk>>);

impl DiskSlot {
    fn get(&self) -> MemoryDisk {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What wasn't synced is gone, or half of it.
    fn lose_power(&self, survives: impl FnMut() -> bool) {
        let mut disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = disk.crash(survives);
        *disk = after;
    }
}

/// A cluster in a simulation.
pub(crate) struct Cluster {
    /// The simulation, for clients to be added.
    pub(crate) sim: turmoil::Sim<'static>,
    /// One for each server of each group.
    disks: Vec<DiskSlot>,
    rng: SmallRng,
}

/// The servers are numbered through all groups.
fn server_name(index: usize) -> String {
    format!("kv-g{}-{}", index / SERVERS, index % SERVERS)
}

/// Where a server serves other servers.
pub(crate) fn peer_address(index: usize) -> String {
    format!("{}:{PEER_PORT}", server_name(index))
}

/// Where the shard managers serve.
pub(crate) fn managers() -> Vec<String> {
    MANAGERS.iter().map(|host| format!("{host}:{MANAGER_PORT}")).collect()
}

impl Cluster {
    /// All hosts, ready to run.
    pub(crate) fn start(seed: u64, groups: usize, rng: SmallRng) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .simulation_duration(Duration::from_hours(1))
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_micros(100))
            .max_message_latency(Duration::from_millis(5))
            .tcp_capacity(4096)
            .build();
        let store = MemoryStore::default();
        for host in MANAGERS {
            let store = store.clone();
            sim.host(host, move || run_manager(store.clone()));
        }
        sim.host("operator", move || operator::run(groups));
        let disks: Vec<DiskSlot> = (0..groups * SERVERS).map(|_| DiskSlot::default()).collect();
        for (index, disk) in disks.iter().cloned().enumerate() {
            sim.host(server_name(index), move || run_server(index, disk.get()));
        }
        Cluster { sim, disks, rng }
    }

    /// Steps until `done`; meanwhile one fault after the other strikes and passes.
    pub(crate) fn run_with_faults(
        &mut self,
        mut done: impl FnMut() -> bool,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let fault = self.strike_and_heal(&mut done, limit)?;
        if let Some(passing) = fault {
            self.heal(&passing);
        }
        Ok(())
    }

    /// Steps until `done`, without any new fault.
    pub(crate) fn run(&mut self, mut done: impl FnMut() -> bool, limit: Duration) -> anyhow::Result<()> {
        let limit = self.sim.elapsed() + limit;
        while !done() {
            if self.sim.elapsed() > limit {
                bail!("the moves didn't end within {limit:?} of simulated time");
            }
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> anyhow::Result<()> {
        self.sim.step().map_err(|e| anyhow!("the simulation failed: {e}"))?;
        Ok(())
    }

    /// The fault that has struck last, if it hasn't passed.
    fn strike_and_heal(
        &mut self,
        mut done: impl FnMut() -> bool,
        limit: Duration,
    ) -> anyhow::Result<Option<Fault>> {
        let mut change_at = self.sim.elapsed() + self.pause(3000..6000);
        let mut fault: Option<Fault> = None;
        while !done() {
            let now = self.sim.elapsed();
            if now > limit {
                bail!("the clients didn't finish within {limit:?} of simulated time");
            }
            if now >= change_at {
                if let Some(passing) = fault.take() {
                    eprintln!("{now:?}: passes: {passing:?}");
                    self.heal(&passing);
                    change_at = now + self.pause(2000..6000);
                } else {
                    let striking = self.draw_fault();
                    eprintln!("{now:?}: strikes: {striking:?}");
                    self.strike(&striking);
                    fault = Some(striking);
                    change_at = now + self.pause(100..4000);
                }
            }
            self.step()?;
        }
        Ok(fault)
    }

    fn pause(&mut self, ms: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(ms))
    }

    fn draw_fault(&mut self) -> Fault {
        let server = self.rng.random_range(0..self.disks.len());
        let group = server / SERVERS * SERVERS;
        match self.rng.random_range(0..8) {
            0..3 => Fault::PowerLoss(vec![server]),
            3 => Fault::PowerLoss((group..group + SERVERS).collect()),
            4 if self.disks.len() > SERVERS => Fault::Apart((group..group + SERVERS).collect()),
            4..6 => Fault::Isolated(server),
            6 => Fault::ManagersDown(self.rng.random_range(1..=MANAGERS.len())),
            _ => Fault::SlowDisk(server),
        }
    }

    /// Does something for each of these servers with each of the others.
    fn each_pair(
        &mut self,
        servers: &[usize],
        mut act: impl FnMut(&mut turmoil::Sim<'static>, String, String),
    ) {
        for &index in servers {
            for other in (0..self.disks.len()).filter(|other| !servers.contains(other)) {
                act(&mut self.sim, server_name(index), server_name(other));
            }
        }
    }

    fn strike(&mut self, fault: &Fault) {
        match fault {
            Fault::PowerLoss(servers) => {
                for &index in servers {
                    self.sim.crash(server_name(index));
                    let rng = &mut self.rng;
                    self.disks[index].lose_power(|| rng.random_bool(0.5));
                }
            }
            Fault::Isolated(index) => self.each_pair(&[*index], |sim, a, b| sim.partition(a, b)),
            Fault::Apart(servers) => self.each_pair(servers, |sim, a, b| sim.partition(a, b)),
            Fault::ManagersDown(count) => {
                for host in &MANAGERS[..*count] {
                    self.sim.crash(*host);
                }
            }
            Fault::SlowDisk(index) => self.disks[*index].get().set_sync_delay(Duration::from_millis(30)),
        }
    }

    fn heal(&mut self, fault: &Fault) {
        match fault {
            Fault::PowerLoss(servers) => {
                for index in servers {
                    self.sim.bounce(server_name(*index));
                }
            }
            Fault::Isolated(index) => self.each_pair(&[*index], |sim, a, b| sim.repair(a, b)),
            Fault::Apart(servers) => self.each_pair(servers, |sim, a, b| sim.repair(a, b)),
            Fault::ManagersDown(count) => {
                for host in &MANAGERS[..*count] {
                    self.sim.bounce(*host);
                }
            }
            Fault::SlowDisk(index) => self.disks[*index].get().set_sync_delay(Duration::ZERO),
        }
    }
}

/// What may befall a cluster.
#[derive(Debug)]
enum Fault {
    /// These servers stop at once; what wasn't synced is lost in part.
    PowerLoss(Vec<usize>),
    /// This server can't reach the others, nor they it; clients reach all of them.
    Isolated(usize),
    /// These servers, a whole group, can't reach the other groups, nor they them; clients reach all.
    Apart(Vec<usize>),
    /// So many shard managers are gone.
    ManagersDown(usize),
    /// Every sync takes long.
    SlowDisk(usize),
}

async fn run_manager(store: MemoryStore) -> turmoil::Result {
    let settings = Settings {
        groups: 1,
        replicas: SERVERS as u32,
        shards: SHARDS,
        hash: Hash::Fnv1,
        policy: Policy::Minimal,
        limits: LIMITS,
    };
    let environment = shardmanager::Environment::new(kvserver::entropy::random_id);
    let manager = shardmanager::Manager::open(settings, Arc::new(store), environment).await?;
    let incoming = net::listen(MANAGER_PORT).await?;
    shardmanager::serve(manager, None, incoming, std::future::pending()).await?;
    Ok(())
}

async fn run_server(index: usize, disk: MemoryDisk) -> turmoil::Result {
    let (name, group) = (server_name(index), index / SERVERS);
    let address = |host: &str, port: u16| format!("{host}:{port}");
    let peers = (group * SERVERS..(group + 1) * SERVERS).map(server_name).map(|name| NamedServer {
        addresses: ServerAddresses { client: address(&name, CLIENT_PORT), peer: address(&name, PEER_PORT) },
        name,
    });
    let config = Config {
        client_address: address(&name, CLIENT_PORT),
        peer_address: address(&name, PEER_PORT),
        instance: server::random_instance(),
        server: name,
        groups: vec![GroupId(group as u32)],
        managers: managers(),
        resolve: net::resolve(),
        addresses: Addresses::fixed(peers),
        tuning: Tuning {
            log_segment_bytes: SEGMENT_BYTES,
            snapshot_log_bytes: SNAPSHOT_BYTES,
            ..Tuning::default()
        },
        log_operations: false,
        disk: Arc::new(disk),
        data_dir: PathBuf::from("/data"),
        clock: Clock::from_fn(|| EPOCH_MS + turmoil::elapsed().as_millis() as u64),
        connector: net::connector(),
        beside: tonic::service::Routes::default(),
    };
    let (clients, peers) = (net::listen(CLIENT_PORT).await?, net::listen(PEER_PORT).await?);
    server::run(config, clients, Some(peers), None, CancellationToken::new()).await?;
    Ok(())
}
