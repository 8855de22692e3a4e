//! The manager's metrics, for Prometheus.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};
use skv_proto::v1::register_replica_response::Plan;

use crate::published::Published;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    answer: &'static str,
}

/// The counters and gauges of a manager.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    registrations: Family<Answer, Counter>,
    store_writes: Counter,
    store_works: AtomicBool,
    store_up: Gauge,
    revision: Gauge<u64, AtomicU64>,
    configuration: Gauge<u64, AtomicU64>,
    groups: Gauge<u64, AtomicU64>,
    candidates: Gauge<u64, AtomicU64>,
    watches: Gauge<u64, AtomicU64>,
    /// The metrics of its listeners.
    pub(crate) listeners: skv_listen::Metrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("shardmanager");
        let r = &mut registry;
        Metrics {
            registrations: register(r, "registrations", "Registrations of replicas, by the answer"),
            store_writes: register(r, "store_writes", "Writes of the record"),
            store_works: AtomicBool::new(true),
            store_up: register(r, "store_up", "1: the record could be used last time"),
            revision: register(r, "map_revision", "Revision of the shard map; 0 before the first"),
            configuration: register(r, "configuration", "Number of the newest configuration"),
            groups: register(r, "groups", "Groups in the map"),
            candidates: register(r, "candidates", "Replicas that wait to be admitted to a group"),
            watches: register(r, "watches", "Open watches of the map"),
            listeners: skv_listen::Metrics::register(r),
            registry,
        }
    }
}

fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Counts a registration that got this plan; `None`: it was refused.
    pub(crate) fn registered(&self, plan: Option<&Plan>) {
        let answer = match plan {
            Some(Plan::Wait(_)) => "wait",
            Some(Plan::Bootstrap(_)) => "bootstrap",
            Some(Plan::Join(_)) => "join",
            Some(Plan::Serve(_)) => "serve",
            Some(Plan::Retired(_)) => "retired",
            None => "refused",
        };
        self.registrations.get_or_create(&Answer { answer }).inc();
    }

    pub(crate) fn stored(&self) {
        self.store_writes.inc();
        self.store_works(true);
    }

    pub(crate) fn store_works(&self, works: bool) {
        self.store_works.store(works, Ordering::Relaxed);
        self.store_up.set(i64::from(works));
    }

    /// Returns true if the last use of the record succeeded.
    pub(crate) fn does_store_work(&self) -> bool {
        self.store_works.load(Ordering::Relaxed)
    }

    pub(crate) fn published(&self, published: Option<&Published>) {
        let candidates = |p: &Published| p.record.groups.values().map(|g| g.candidates.len()).sum::<usize>();
        self.revision.set(published.map_or(0, |p| p.map.revision.0));
        self.configuration.set(published.map_or(0, |p| p.map.configuration));
        self.groups.set(published.map_or(0, |p| p.map.groups.len() as u64));
        self.candidates.set(published.map_or(0, |p| candidates(p) as u64));
    }

    pub(crate) fn watches(&self, open: usize) {
        self.watches.set(open as u64);
    }

    /// The metrics as text.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string doesn't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The description of the metrics as the page of metrics is made from it.
    const DESCRIBED: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics/shardmanager.txt");

    #[test]
    fn the_documentation_describes_every_metric() {
        let metrics = Metrics::default();
        // Metrics with labels are shown when they have a value.
        metrics.registered(None);
        metrics.listeners.of("grpc");
        let text = metrics.encode();
        let shown: String = text
            .split_inclusive('\n')
            .filter(|line| line.starts_with("# HELP") || line.starts_with("# TYPE"))
            .collect();
        let described = std::fs::read_to_string(DESCRIBED).unwrap_or_default();
        assert!(shown == described, "put this into {DESCRIBED}, and run `cargo xtask book`:\n{shown}");
    }
}
