//! Counts of shards that leave for other groups.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// Counts of shards that leave for other groups.
#[derive(Debug)]
pub struct HandoffCounters {
    bytes: Counter,
    done: Counter,
    unserved: Histogram,
}

impl HandoffCounters {
    /// Makes them, at zero, and shows them in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        // 0.5 ms to 16 s.
        let unserved = Histogram::new(exponential_buckets(0.5e-3, 2.0, 16));
        let help_unserved =
            "For how long nobody served a shard, from its freeze here until its target had it";
        HandoffCounters {
            bytes: shown(
                registry,
                "handoff_bytes",
                "Bytes sent to other groups for their shards",
                Counter::default(),
            ),
            done: shown(
                registry,
                "handoffs",
                "Shards that were handed over to other groups",
                Counter::default(),
            ),
            unserved: shown(registry, "handoff_unserved_seconds", help_unserved, unserved),
        }
    }

    /// Counts bytes that were sent.
    pub(crate) fn sent(&self, bytes: u64) {
        self.bytes.inc_by(bytes);
    }

    /// Counts a shard that its target has now, and the time for which nobody served it, if that is
    /// known.
    pub(crate) fn done(&self, unserved: Option<Duration>) {
        self.done.inc();
        if let Some(unserved) = unserved {
            self.unserved.observe(unserved.as_secs_f64());
        }
    }
}

fn shown<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}
