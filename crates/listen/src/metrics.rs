//! The metrics of listeners, for Prometheus: the same in every program.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    listener: &'static str,
}

/// The metrics of a program's listeners.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    open: Family<Label, Gauge>,
    refused: Family<Label, Counter>,
    failed: Family<Label, Counter>,
    silent: Family<Label, Counter>,
}

/// The metrics of one listener.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// The number of open connections.
    pub open: Gauge,
    /// The number of connections that were closed at once, since there were too many.
    pub refused: Counter,
    /// The number of failed attempts to take a connection, such as for want of a descriptor.
    pub failed: Counter,
    /// The number of connections that were closed since their clients sent nothing for too long.
    pub silent: Counter,
}

impl Metrics {
    /// Returns metrics that a registry shows.
    pub fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        registry.register("connections", "Open connections, by listener", metrics.open.clone());
        let help = "Connections that were closed at once, since their listener had too many";
        registry.register("connections_refused", help, metrics.refused.clone());
        let help = "Connections that could not be taken, such as for want of a descriptor";
        registry.register("accept_failures", help, metrics.failed.clone());
        let help = "Connections that were closed, since their clients sent nothing for too long";
        registry.register("connections_silent", help, metrics.silent.clone());
        metrics
    }

    /// Returns the metrics of one listener.
    pub fn of(&self, listener: &'static str) -> Counted {
        let label = Label { listener };
        Counted {
            open: self.open.get_or_create(&label).clone(),
            refused: self.refused.get_or_create(&label).clone(),
            failed: self.failed.get_or_create(&label).clone(),
            silent: self.silent.get_or_create(&label).clone(),
        }
    }
}
