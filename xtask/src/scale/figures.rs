//! The figures that were measured, and the limits of some. Pure.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::page::Memory;

/// The limit of the operator's memory in its chart.
const MEMORY_KIB: u64 = 256 << 10;
const RESYNC_SECONDS: f64 = 60.0;

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    pub(super) resources: u32,
    /// The seconds until each had been passed over once, from the first that was made.
    pub(super) passed_s: f64,
    /// The seconds until all servers of each were ready, from the first resource that was made.
    pub(super) ready_s: f64,
    /// The writes that this took.
    pub(super) writes_to_make: u64,
    /// The memory of the operator that made all objects.
    pub(super) grown: Memory,
    pub(super) quiet: Quiet,
    pub(super) resync: Resync,
}

/// A time in which nothing was to do.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Quiet {
    pub(super) seconds: u32,
    pub(super) passes: u64,
    pub(super) writes: u64,
}

/// The first passes of an operator that finds everything made.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resync {
    /// The seconds from its start until each resource had been passed over once.
    pub(super) seconds: f64,
    /// The applies by which it found that nothing differs.
    pub(super) writes: u64,
    pub(super) memory: Memory,
}

impl Figures {
    /// Returns the names of those figures that are beyond their limits.
    pub(super) fn missed(&self) -> Vec<&'static str> {
        let peak = self.grown.peak_kib.max(self.resync.memory.peak_kib);
        let judged = [
            ("memory", peak >= MEMORY_KIB),
            ("time of a resync", self.resync.seconds >= RESYNC_SECONDS),
            ("writes while nothing is to do", self.quiet.writes > 0),
        ];
        judged.into_iter().filter_map(|(name, is_missed)| is_missed.then_some(name)).collect()
    }

    /// Returns them for people.
    pub(super) fn table(&self) -> Table {
        let Figures { quiet, resync, .. } = self;
        let mib = |kib: u64| format!("{} MiB", kib.div_ceil(1 << 10));
        let most = format!("below {}", mib(MEMORY_KIB));
        let seconds = |seconds: f64| format!("{seconds:.1} s");
        let none = String::new;
        let rows = [
            ("resources".to_owned(), self.resources.to_string(), none()),
            ("each passed over once".to_owned(), seconds(self.passed_s), none()),
            ("all servers ready".to_owned(), seconds(self.ready_s), none()),
            ("writes until then".to_owned(), self.writes_to_make.to_string(), none()),
            ("memory then".to_owned(), mib(self.grown.now_kib), most.clone()),
            ("memory at most".to_owned(), mib(self.grown.peak_kib), most.clone()),
            (format!("passes in {} s without work", quiet.seconds), quiet.passes.to_string(), none()),
            ("writes meanwhile".to_owned(), quiet.writes.to_string(), "0".to_owned()),
            ("resync after a restart".to_owned(), seconds(resync.seconds), "below 60 s".to_owned()),
            ("applies of it".to_owned(), resync.writes.to_string(), none()),
            ("memory after it".to_owned(), mib(resync.memory.now_kib), most.clone()),
            ("memory during it at most".to_owned(), mib(resync.memory.peak_kib), most),
        ];
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["FIGURE", "VALUE", "LIMIT"]);
        for (name, value, limit) in rows {
            table.add_row([name, value, limit]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let memory = |kib| Memory { now_kib: kib, peak_kib: kib };
        Figures {
            resources: 1000,
            passed_s: 90.04,
            ready_s: 300.0,
            writes_to_make: 31_000,
            grown: memory(120 << 10),
            quiet: Quiet { seconds: 120, passes: 4000, writes: 0 },
            resync: Resync { seconds: 40.0, writes: 27_000, memory: memory((100 << 10) + 1) },
        }
    }

    #[test]
    fn what_is_beyond_its_limit_is_named() {
        assert_eq!(figures().missed(), [""; 0]);
        let mut large = figures();
        large.resync.memory.peak_kib = 256 << 10;
        assert_eq!(large.missed(), ["memory"]);
        let mut bad = figures();
        (bad.resync.seconds, bad.quiet.writes) = (60.0, 1);
        assert_eq!(bad.missed(), ["time of a resync", "writes while nothing is to do"]);
    }

    #[test]
    fn the_table_and_the_json_have_each_figure() {
        let text = figures().table().to_string();
        for shown in ["90.0 s", "120 MiB", "101 MiB", "passes in 120 s without work", "27000"] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
        let json = serde_json::to_value(figures()).unwrap();
        assert_eq!(json["writesToMake"], 31_000);
        assert_eq!(json["resync"]["memory"]["peakKib"], 102_401);
        assert_eq!(json["quiet"]["writes"], 0);
    }
}
