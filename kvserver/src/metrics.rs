//! The server's metrics, for Prometheus.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};
use skv_log::OnWritten;
use skv_memory::Budget;
use skv_proto::v1::answer::Answer;
use skv_proto::{Error, v1};
use skv_replica::{Environment, HandoffCounters, Replicas};
use tokio::time::Instant;

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Kind {
    Get,
    Put,
    Append,
    Delete,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    group: String,
}

/// The counters of a server.
pub struct Metrics {
    registry: Mutex<Registry>,
    answered: [Counter; 4],
    failed: Family<ReasonLabels, Counter>,
    duration: Histogram,
    log: LogTimes,
    replicas: ReplicaGauges,
    snapshot_age: PerGroup,
    map_revision: Gauge<u64, AtomicU64>,
    map_lag: Gauge<u64, AtomicU64>,
    memory: MemoryGauges,
    listeners: skv_listen::Metrics,
    handoffs: Arc<HandoffCounters>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Gauges with a value per replica, set when the metrics are read.
#[derive(Default)]
struct ReplicaGauges(Vec<(PerGroup, Measure)>);

type PerGroup = Family<GroupLabels, Gauge<u64, AtomicU64>>;
/// Reads the value of a gauge from a replica's status.
type Measure = fn(&v1::ReplicaStatus) -> u64;
/// A gauge's name, help and value.
type Described = (&'static str, &'static str, Measure);

impl ReplicaGauges {
    fn register(registry: &mut Registry) -> Self {
        let gauges: [Described; 20] = [
            ("replica_ready", "1: a voter that has caught up and hears a leader", |s| u64::from(s.ready)),
            ("replica_leader", "1: leads its group", |s| u64::from(s.state() == v1::ReplicaState::Leader)),
            ("replica_term", "Raft term", |s| s.term),
            ("replica_last_log_index", "Last log index", |s| log_index(s.last_log.as_ref())),
            ("replica_committed_index", "Last committed log index", |s| log_index(s.committed.as_ref())),
            ("replica_applied_index", "Last applied log index", |s| log_index(s.applied.as_ref())),
            ("replica_snapshot_index", "Log index of the newest snapshot", |s| {
                log_index(s.snapshot.as_ref())
            }),
            ("replica_log_bytes", "Bytes applied since the newest snapshot", |s| s.log_bytes),
            ("replica_disk_full", "1: no room for the next log segment", |s| u64::from(s.disk_full)),
            ("replica_memory_full", "1: nothing is taken that makes the data grow", |s| {
                u64::from(s.memory_full)
            }),
            ("replica_quorum_lost_milliseconds", "For how long no quorum was heard; 0: it is there", |s| {
                s.quorum_lost_ms
            }),
            (
                "replica_former_bytes",
                "Bytes kept of former lives of the group, from before it was reset",
                |s| s.former_bytes,
            ),
            ("shards_owned", "Shards that the group owns", |s| u64::from(s.shards_owned)),
            ("shards_queued", "Owned shards that are to leave, and wait for their turn", |s| {
                u64::from(s.shards_queued)
            }),
            ("shards_copying", "Owned shards that are copied to another group", |s| {
                u64::from(s.shards_copying)
            }),
            ("shards_frozen", "Owned shards that nobody serves until another group does", |s| {
                u64::from(s.shards_frozen)
            }),
            ("shards_arriving", "Shards that come from another group", |s| u64::from(s.shards_arriving)),
            ("keys", "Keys", |s| s.keys),
            ("stored_bytes", "Bytes of keys and values", |s| s.bytes),
            ("sessions", "Sessions of clerks, summed over shards", |s| s.sessions),
        ];
        let register =
            |(name, help, value): Described| (register(registry, name, help, PerGroup::default()), value);
        ReplicaGauges(gauges.into_iter().map(register).collect())
    }

    fn set(&self, replicas: &Replicas) {
        for replica in replicas.iter() {
            let status = replica.status();
            let labels = GroupLabels { group: replica.group.to_string() };
            for (family, value) in &self.0 {
                family.get_or_create(&labels).set(value(&status));
            }
        }
    }
}

/// The memory of the server, set when somebody asks.
struct MemoryGauges {
    used: Gauge<u64, AtomicU64>,
    resident: Gauge<u64, AtomicU64>,
    edge: Gauge<u64, AtomicU64>,
    limit: Gauge<u64, AtomicU64>,
}

impl MemoryGauges {
    fn register(registry: &mut Registry) -> Self {
        let mut gauge = |name, help| register(registry, name, help, Gauge::default());
        MemoryGauges {
            used: gauge("memory_used_bytes", "Memory of data, sessions and copies, as it is counted"),
            resident: gauge("memory_resident_bytes", "Memory that the process has in pages of its own"),
            edge: gauge("memory_edge_bytes", "Counted memory up to which data may grow; 0: no limit"),
            limit: gauge("memory_limit_bytes", "Memory that the server may use; 0: no limit"),
        }
    }

    fn set(&self, budget: &Budget) {
        self.used.set(budget.used());
        self.resident.set(budget.resident());
        self.edge.set(budget.limit().map_or(0, |_| budget.edge()));
        self.limit.set(budget.limit().unwrap_or(0));
    }
}

/// The sizes and times of batches of all logs of the server.
struct LogTimes {
    bytes: Histogram,
    time: Histogram,
}

impl LogTimes {
    fn register(registry: &mut Registry) -> Self {
        // 512 B to 4 MiB, and 50 us to 26 s.
        let bytes = Histogram::new(exponential_buckets(512.0, 2.0, 14));
        let time = Histogram::new(exponential_buckets(50e-6, 2.0, 20));
        let help = "Bytes of a batch of the log, which is synced once";
        let bytes = register(registry, "log_batch_bytes", help, bytes);
        let help = "Time to write and sync a batch of the log";
        LogTimes { bytes, time: register(registry, "log_sync_seconds", help, time) }
    }
}

/// Shows a metric under a name, and answers it.
fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn log_index(id: Option<&v1::LogId>) -> u64 {
    id.map_or(0, |id| id.index)
}

impl Metrics {
    /// All counters at zero.
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("skv");
        let r = &mut registry;
        let operations: Family<OperationLabels, Counter> =
            register(r, "operations", "Operations that were answered", Family::default());
        let failed =
            register(r, "operations_failed", "Operations that got no answer, by reason", Family::default());
        // 50 us to 26 s.
        let duration = Histogram::new(exponential_buckets(50e-6, 2.0, 20));
        let help = "From the frame's arrival to its answers";
        let duration = register(r, "operation_duration_seconds", help, duration);
        let answered = [Kind::Get, Kind::Put, Kind::Append, Kind::Delete]
            .map(|operation| operations.get_or_create(&OperationLabels { operation }).clone());
        let log = LogTimes::register(r);
        let replicas = ReplicaGauges::register(r);
        let help =
            "Time since the newest snapshot was written or received, or else since the replica started";
        let snapshot_age = register(r, "replica_snapshot_age_seconds", help, PerGroup::default());
        let handoffs = Arc::new(HandoffCounters::register(r));
        let help = "Revision of this server's copy of the shard map";
        let map_revision = register(r, "map_revision", help, Gauge::default());
        let help =
            "By how many revisions that copy is older than what the shard managers have told replicas here";
        let map_lag = register(r, "map_lag_revisions", help, Gauge::default());
        let memory = MemoryGauges::register(r);
        let listeners = skv_listen::Metrics::register(r);
        let registry = Mutex::new(registry);
        Arc::new(Metrics {
            registry,
            answered,
            failed,
            duration,
            log,
            replicas,
            snapshot_age,
            map_revision,
            map_lag,
            memory,
            listeners,
            handoffs,
        })
    }

    /// Returns the counters of shards that leave.
    pub fn handoffs(&self) -> Arc<HandoffCounters> {
        self.handoffs.clone()
    }

    /// Returns what counts the batches of a log.
    pub fn on_written(&self) -> OnWritten {
        let (bytes, time) = (self.log.bytes.clone(), self.log.time.clone());
        OnWritten::new(move |written| {
            bytes.observe(written.bytes as f64);
            time.observe(written.time.as_secs_f64());
        })
    }

    /// Returns the counters of a listener.
    pub fn listener(&self, name: &'static str) -> skv_listen::Counted {
        self.listeners.of(name)
    }

    /// Counts answers.
    pub fn count<'a>(&self, answers: impl IntoIterator<Item = &'a Answer>) {
        let mut counts = [0; 4];
        for answer in answers {
            match answer {
                Answer::Get(_) => counts[0] += 1,
                Answer::Put(_) => counts[1] += 1,
                Answer::Append(_) => counts[2] += 1,
                Answer::Delete(_) => counts[3] += 1,
                Answer::Error(error) => self.count_failure(error.reason()),
            }
        }
        for (counter, count) in self.answered.iter().zip(counts) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }

    fn count_failure(&self, reason: v1::Reason) {
        let reason = reason.as_str_name().trim_start_matches("REASON_").to_owned();
        self.failed.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Starts to measure a part of a frame.
    pub(crate) fn timer(self: &Arc<Self>) -> Timer {
        Timer { metrics: self.clone(), started: Instant::now() }
    }

    /// Everything in the text format.
    pub fn encode(&self, replicas: &Replicas, env: &Environment) -> Result<String, fmt::Error> {
        self.memory.set(&env.memory);
        self.replicas.set(replicas);
        for replica in replicas.iter() {
            let age = replica.running().map_or(0, |running| running.snapshot_age().as_secs());
            self.snapshot_age.get_or_create(&GroupLabels { group: replica.group.to_string() }).set(age);
        }
        let revision = env.map.revision().0;
        let running = replicas.iter().filter_map(|replica| replica.running().ok());
        let told = running.map(|running| running.told_revision().0).max().unwrap_or(0);
        self.map_revision.set(revision);
        self.map_lag.set(told.saturating_sub(revision));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

/// Measures until [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct Timer {
    metrics: Arc<Metrics>,
    started: Instant,
}

impl Timer {
    /// Counts one answer and the time that it took.
    pub(crate) fn finish_one(&self, answer: &Result<Answer, Error>) {
        match answer {
            Ok(answer) => self.finish([answer]),
            Err(error) => {
                self.metrics.count_failure(error.reason());
                self.metrics.duration.observe(self.started.elapsed().as_secs_f64());
            }
        }
    }

    /// Counts the answers and the time that they took.
    pub(crate) fn finish<'a>(&self, answers: impl IntoIterator<Item = &'a Answer>) {
        self.metrics.count(answers);
        self.metrics.duration.observe(self.started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file from which the page of metrics is made.
    const DESCRIBED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics/kvserver.txt");

    #[test]
    fn the_documentation_describes_every_metric() {
        let metrics = Metrics::new();
        // Metrics with labels are shown when they have a value.
        metrics.listener("client");
        metrics.failed.get_or_create(&ReasonLabels { reason: "NOT_LEADER".to_owned() }).inc();
        let families = metrics.replicas.0.iter().map(|(family, _)| family);
        for family in families.chain([&metrics.snapshot_age]) {
            family.get_or_create(&GroupLabels { group: "g0".to_owned() }).set(0);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry.lock()).unwrap();
        let shown: String = text
            .split_inclusive('\n')
            .filter(|line| line.starts_with("# HELP") || line.starts_with("# TYPE"))
            .collect();
        let described = std::fs::read_to_string(DESCRIBED).unwrap_or_default();
        assert!(shown == described, "put this into {DESCRIBED}, and run `cargo xtask book`:\n{shown}");
    }
}
