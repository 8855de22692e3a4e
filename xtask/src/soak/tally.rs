//! The tally of a soak: its runs, and its findings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// A fault that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) problem: String,
    /// The command that shows it again.
    pub(super) replay: String,
    /// The folder with its output.
    pub(super) output: Option<String>,
}

/// The tally of one kind of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// The first seed: a soak that begins `--from` it runs the same ones again.
    pub(super) from: u64,
    /// Seeds, rounds or defects.
    pub(super) runs: u64,
    /// Operations of clients, all of which were judged; passes of operators.
    pub(super) operations: u64,
    /// Operations that failed, or may have: some must while too much is down; passes that were killed.
    pub(super) failed_operations: u64,
    /// Changes of the configuration; pods that operators took.
    pub(super) changes: u64,
    pub(super) seconds: u64,
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) findings: Vec<Finding>,
}

/// The tallies of a soak.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report(BTreeMap<&'static str, Tally>);

impl Tally {
    pub(super) fn add(&mut self, other: Tally) {
        self.runs += other.runs;
        self.operations += other.operations;
        self.failed_operations += other.failed_operations;
        self.changes += other.changes;
        self.seconds += other.seconds;
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.findings.extend(other.findings);
    }
}

impl Report {
    pub(super) fn add(&mut self, kind: &'static str, tally: Tally) {
        self.0.insert(kind, tally);
    }

    pub(super) fn findings(&self) -> usize {
        self.0.values().map(|tally| tally.findings.len()).sum()
    }

    /// Returns a table for people: a line for each kind, one for each fault, and all findings.
    pub(super) fn table(&self) -> String {
        let header =
            ["KIND", "FROM", "RUNS", "OPERATIONS", "FAILED", "CHANGES", "FAULTS", "SECONDS", "FINDINGS"];
        let kinds = self.0.iter().map(|(kind, tally)| {
            let faults = tally.faults.values().sum();
            let findings = tally.findings.len() as u64;
            let done = [tally.from, tally.runs, tally.operations, tally.failed_operations, tally.changes];
            (*kind, done.into_iter().chain([faults, tally.seconds, findings]).collect())
        });
        let mut text = layout(&header, kinds);
        let names: BTreeSet<&String> = self.0.values().flat_map(|tally| tally.faults.keys()).collect();
        if !names.is_empty() {
            let header: Vec<String> = self.0.keys().map(|kind| kind.to_uppercase()).collect();
            let header: Vec<&str> = ["FAULT"].into_iter().chain(header.iter().map(String::as_str)).collect();
            let faults = names.into_iter().map(|name| {
                let counts = self.0.values().map(|tally| tally.faults.get(name).copied().unwrap_or(0));
                (name.as_str(), counts.collect())
            });
            let _ = write!(text, "\n\n{}", layout(&header, faults));
        }
        for Finding { problem, replay, output } in self.0.values().flat_map(|tally| &tally.findings) {
            let _ = write!(text, "\n\n{problem}\n  replay it with: {replay}");
            if let Some(output) = output {
                let _ = write!(text, "\n  its output is in {output}");
            }
        }
        text
    }
}

fn layout<'a>(header: &[&str], rows: impl Iterator<Item = (&'a str, Vec<u64>)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for (name, numbers) in rows {
        table.add_row([name.to_owned()].into_iter().chain(numbers.iter().map(u64::to_string)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(fault: &str) -> Tally {
        Tally {
            runs: 1,
            operations: 500,
            faults: BTreeMap::from([(fault.to_owned(), 2)]),
            ..Tally::default()
        }
    }

    fn rows(text: &str) -> Vec<Vec<&str>> {
        text.lines().map(|line| line.split_whitespace().collect()).collect()
    }

    #[test]
    fn runs_add_up_and_are_shown_by_kind_and_by_fault() {
        let mut seeds = one("PowerLoss");
        seeds.add(one("PowerLoss"));
        seeds.add(one("Lossy"));
        let mut report = Report::default();
        report.add("seeds", Tally { from: 7, ..seeds });
        report.add("processes", one("killed"));
        let text = report.table();
        let rows = rows(&text);
        assert_eq!(rows[1], ["processes", "0", "1", "500", "0", "0", "2", "0", "0"]);
        assert_eq!(rows[2], ["seeds", "7", "3", "1500", "0", "0", "6", "0", "0"]);
        assert_eq!(rows[4], ["FAULT", "PROCESSES", "SEEDS"]);
        assert!(rows.contains(&vec!["PowerLoss", "0", "4"]) && rows.contains(&vec!["killed", "2", "0"]));
        assert_eq!(report.findings(), 0);
    }

    #[test]
    fn a_finding_has_the_command_that_shows_it_again() {
        let finding = Finding {
            problem: "seed 7 fails".to_owned(),
            replay: "cargo xtask sim --seed 7 --groups=3".to_owned(),
            output: Some("/cache/soak/seed-7".to_owned()),
        };
        let mut report = Report::default();
        report.add("seeds", Tally { findings: vec![finding], ..one("Lossy") });
        assert_eq!(report.findings(), 1);
        assert!(report.table().contains("replay it with: cargo xtask sim --seed 7 --groups=3\n"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["seeds"]["faults"]["Lossy"], 2);
        assert_eq!(json["seeds"]["findings"][0]["replay"], "cargo xtask sim --seed 7 --groups=3");
    }
}
