//! Histograms that count nothing, in the place of the package of this name.
//!
//! openraft counts the sizes of its batches in them, and shows them only with its feature
//! `runtime-stats`, which we don't use. The real ones build tables of all their sixteen resolutions at
//! the first use, 25 MB in each process, of which openraft needs 6 KB. `Cargo.toml` puts this crate
//! in their place; openraft with that feature doesn't compile with it.

use std::fmt;
use std::marker::PhantomData;

/// A histogram that stays empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// Returns an empty histogram.
    pub fn new() -> Self {
        Histogram(PhantomData)
    }

    /// Forgets a value.
    pub fn record(&mut self, _value: u64) {}

    /// Forgets a value that came several times.
    pub fn record_n(&mut self, _value: u64, _count: u64) {}

    /// Returns the percentiles of no values.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// Percentiles, all of which are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// The number of values.
    pub samples: u64,
    /// The median.
    pub p50: u64,
    /// The 90th percentile.
    pub p90: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The 99.9th percentile.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not counted")
    }
}

/// A chart of nothing.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// Returns an empty chart.
    pub fn new() -> Self {
        AsciiChart
    }

    /// Leaves a histogram out.
    #[must_use]
    pub fn add(self, _label: &str, _histogram: Histogram) -> Self {
        self
    }
}
