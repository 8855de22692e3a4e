//! The metrics of the operator, for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::health::Health;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

/// The counters, times and health of the operator.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    passes: Family<ResultLabel, Counter>,
    pub(crate) duration: Histogram,
    writes: Family<KindLabel, Counter>,
    pub(crate) resources: Gauge,
    pub(crate) leads: Gauge,
    pub(crate) listeners: skv_listen::Metrics,
    pub(crate) health: Health,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("skv_operator");
        let passes = Family::default();
        registry.register("reconciliations", "Passes over resources, by their end", passes.clone());
        // The buckets reach from 1 ms to 16 s.
        let duration = Histogram::new(exponential_buckets(1e-3, 2.0, 15));
        registry.register(
            "reconciliation_duration_seconds",
            "Length of a pass over a resource",
            duration.clone(),
        );
        let writes = Family::default();
        registry.register(
            "writes",
            "Objects that were created, applied, annotated or switched off, by kind",
            writes.clone(),
        );
        let resources = Gauge::default();
        registry.register(
            "resources",
            "Resources that exist and have been passed over since this operator began to act",
            resources.clone(),
        );
        let leads = Gauge::default();
        registry.register("leader", "1: this operator holds the Lease", leads.clone());
        let listeners = skv_listen::Metrics::register(&mut registry);
        let health = Health::default();
        Metrics { registry, passes, duration, writes, resources, leads, listeners, health }
    }
}

impl Metrics {
    /// Counts a pass over a resource that ended in this way: done, invalid or failed.
    pub(crate) fn passed(&self, result: &'static str) {
        self.passes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a write of an object of this kind.
    pub(crate) fn wrote(&self, kind: &str) {
        self.writes.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    /// Returns all metrics in the text format.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The description of the metrics as the page of metrics is made from it.
    const DESCRIBED: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics/skv-operator.txt");

    #[test]
    fn the_documentation_describes_every_metric() {
        let metrics = Metrics::default();
        // Metrics with labels are shown when they have a value.
        metrics.passed("done");
        metrics.wrote("Service");
        metrics.listeners.of("http");
        let text = metrics.encode();
        let shown: String = text
            .split_inclusive('\n')
            .filter(|line| line.starts_with("# HELP") || line.starts_with("# TYPE"))
            .collect();
        let described = std::fs::read_to_string(DESCRIBED).unwrap_or_default();
        assert!(shown == described, "put this into {DESCRIBED}, and run `cargo xtask book`:\n{shown}");
    }
}
