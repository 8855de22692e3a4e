//! Two shard managers and groups of three servers on a simulated network, on disks that outlive
//! them. Their faults are in `faults.rs`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{anyhow, bail};
use kvserver::Metrics;
use kvserver::server::{self, Config};
use shardmanager::record::Limits;
use shardmanager::rules::Settings;
use shardmanager::store::MemoryStore;
use skv_disk::MemoryDisk;
use skv_disk::clock::Clock;
use skv_listen::Services;
use skv_memory::Budget;
use skv_net::{Addresses, NamedServer, ServerAddresses};
use skv_replica::Tuning;
use skv_sharding::{GroupId, Policy};
use tokio_util::sync::CancellationToken;

use crate::layout::{
    CLIENT_PORT, HASH, LOOK, MANAGER_PORT, MANAGERS, PEER_PORT, SERVERS, SHARDS, managers, server_name,
    servers_of,
};
use crate::{net, operator};

/// The beginning of the simulated time, in ms since 1970.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// The longest simulated time.
const LONGEST: Duration = Duration::from_hours(30);
/// The size of segments: small, so that segments and snapshots come and go while the simulation runs.
const SEGMENT_BYTES: u32 = 4 << 20;
const SNAPSHOT_BYTES: u64 = 16 << 10;
/// The speed of moves: so slow that a heavy shard (`ballast.rs`) changes while it is copied.
const TRANSFER_BYTES_PER_SECOND: u64 = 2 << 20;
/// More than all data takes: memory is full when a fault takes it.
pub(crate) const MEMORY: u64 = 1 << 30;

const LIMITS: Limits = Limits {
    max_key_bytes: 4 << 10,
    max_value_bytes: 1 << 20,
    max_sessions_per_shard: 1000,
    session_ttl_ms: 600_000,
};

/// A disk that outlives its host.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiskSlot(Arc<Mutex<MemoryDisk>>);

impl DiskSlot {
    /// Returns the disk as it is now.
    pub(crate) fn get(&self) -> MemoryDisk {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another disk in its place.
    pub(crate) fn replace(&self, other: MemoryDisk) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = other;
    }

    /// Loses the unsynced writes, or half of them.
    pub(crate) fn lose_power(&self, survives: impl FnMut() -> bool) {
        let mut disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = disk.crash(survives);
        *disk = after;
    }
}

/// The wall clock of a server: how many ms it differs from the right time.
#[derive(Debug, Clone, Default)]
pub(crate) struct WallClock(Arc<AtomicI64>);

impl WallClock {
    /// Has it jump to this difference.
    pub(crate) fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        let right = EPOCH_MS + turmoil::elapsed().as_millis() as u64;
        right.saturating_add_signed(self.0.load(Ordering::Relaxed))
    }
}

/// The level of what a server's program knows, from the server's next start on.
#[derive(Debug, Clone)]
pub(crate) struct Level(Arc<AtomicU32>);

impl Level {
    /// Puts the next program in the place of this one.
    pub(crate) fn raise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Level {
    fn default() -> Level {
        Level(Arc::new(AtomicU32::new(Tuning::DEFAULT.feature_level)))
    }
}

/// The times of a simulation: the slower it goes, the more of it can be seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The step of the simulated time.
    pub(crate) tick: Duration,
    /// The interval between the heartbeats of a leader.
    pub(crate) heartbeat_ms: u64,
    /// The time without its leader after which a replica stands for election.
    pub(crate) election_timeout_ms: u64,
    /// The time between two looks of watchers.
    pub(crate) look: Duration,
}

impl Pace {
    const USUAL: Pace = Pace {
        tick: Duration::from_millis(1),
        heartbeat_ms: Tuning::DEFAULT.heartbeat_ms,
        election_timeout_ms: Tuning::DEFAULT.election_timeout_ms,
        look: LOOK,
    };
}

/// A cluster in a simulation.
pub(crate) struct Cluster {
    /// The simulation, for clients to be added.
    pub(crate) sim: turmoil::Sim<'static>,
    /// The disks, one for each server of each group.
    pub(crate) disks: Vec<DiskSlot>,
    /// The memory of each server.
    pub(crate) memory: Vec<Budget>,
    /// The clock of each server.
    pub(crate) clocks: Vec<WallClock>,
    /// The program of each server.
    pub(crate) levels: Vec<Level>,
    /// The time between two looks of watchers.
    pub(crate) look: Duration,
    /// The shard managers' record.
    pub(crate) record: MemoryStore,
    /// The hosts of clerks that faults may cut off.
    pub(crate) clerks: Vec<String>,
}

impl Cluster {
    /// Makes all hosts, ready to run.
    pub(crate) fn start(seed: u64, groups: usize) -> Self {
        Cluster::with_pace(seed, groups, Pace::USUAL)
    }

    /// Makes all hosts, ready to run at this pace.
    pub(crate) fn with_pace(seed: u64, groups: usize, pace: Pace) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .simulation_duration(LONGEST)
            .tick_duration(pace.tick)
            .min_message_latency(Duration::from_micros(100))
            .max_message_latency(Duration::from_millis(5))
            .tcp_capacity(4096)
            .build();
        let record = MemoryStore::default();
        for host in MANAGERS {
            let record = record.clone();
            sim.host(host, move || run_manager(record.clone()));
        }
        sim.host("operator", move || operator::run(groups));
        let disks: Vec<DiskSlot> = (0..groups * SERVERS).map(|_| DiskSlot::default()).collect();
        let memory: Vec<Budget> = disks.iter().map(|_| Budget::new(Some(MEMORY))).collect();
        let clocks: Vec<WallClock> = disks.iter().map(|_| WallClock::default()).collect();
        let levels: Vec<Level> = disks.iter().map(|_| Level::default()).collect();
        for (index, disk) in disks.iter().enumerate() {
            let (disk, memory, clock) = (disk.clone(), memory[index].clone(), clocks[index].clone());
            let level = levels[index].clone();
            sim.host(server_name(index), move || {
                run_server(index, disk.get(), memory.clone(), clock.clone(), level.get(), pace)
            });
        }
        Cluster { sim, disks, memory, clocks, levels, look: pace.look, record, clerks: Vec::new() }
    }

    /// Adds the host of a clerk.
    pub(crate) fn add_clerk(&mut self, name: String, clerk: impl Future<Output = turmoil::Result> + 'static) {
        self.sim.client(name.as_str(), clerk);
        self.clerks.push(name);
    }

    /// Steps until `done`.
    pub(crate) fn run(
        &mut self,
        what: &str,
        mut done: impl FnMut() -> bool,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let end = self.sim.elapsed() + limit;
        while !done() {
            if self.sim.elapsed() > end {
                bail!("{what} took more than {limit:?} of simulated time");
            }
            self.step()?;
        }
        Ok(())
    }

    /// Steps for this time.
    pub(crate) fn run_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            self.step()?;
        }
        Ok(())
    }

    /// Makes one step of the simulated time.
    pub(crate) fn step(&mut self) -> anyhow::Result<()> {
        self.sim.step().map_err(|e| anyhow!("the simulation failed: {e}"))?;
        Ok(())
    }
}

async fn run_manager(store: MemoryStore) -> turmoil::Result {
    let settings = Settings {
        groups: 1,
        replicas: SERVERS as u32,
        shards: SHARDS,
        hash: HASH,
        policy: Policy::Minimal,
        ring: false,
        limits: LIMITS,
    };
    let environment = shardmanager::Environment::new(skv_disk::entropy::random_id);
    let manager = shardmanager::Manager::open(settings, Arc::new(store), environment).await?;
    let incoming = net::listen(MANAGER_PORT).await?;
    shardmanager::serve(manager, None, incoming, std::future::pending()).await?;
    Ok(())
}

async fn run_server(
    index: usize,
    disk: MemoryDisk,
    memory: Budget,
    clock: WallClock,
    feature_level: u32,
    pace: Pace,
) -> turmoil::Result {
    let (name, group) = (server_name(index), index / SERVERS);
    let address = |host: &str, port: u16| format!("{host}:{port}");
    let peers = servers_of(group).map(server_name).map(|name| NamedServer {
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
        addresses: Arc::new(Addresses::fixed(peers)),
        tuning: Tuning {
            log_segment_bytes: SEGMENT_BYTES,
            snapshot_log_bytes: SNAPSHOT_BYTES,
            transfer_bytes_per_second: TRANSFER_BYTES_PER_SECOND,
            heartbeat_ms: pace.heartbeat_ms,
            election_timeout_ms: pace.election_timeout_ms,
            feature_level,
            ..Tuning::default()
        },
        memory,
        log_operations: false,
        disk: Arc::new(disk),
        data_dir: PathBuf::from("/data"),
        clock: Clock::from_fn(move || clock.now_ms()),
        connector: net::connector(),
        beside: Services::default(),
        metrics: Metrics::new(),
    };
    let (clients, peers) = (net::listen(CLIENT_PORT).await?, net::listen(PEER_PORT).await?);
    server::run(config, clients, Some(peers), None, CancellationToken::new()).await?;
    Ok(())
}
