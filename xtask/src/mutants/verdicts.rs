//! The verdicts about defects: kept in a file from run to run, and reported as a table or JSON.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::trial::Outcome;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Judgement {
    /// A test failed, or hung.
    Caught,
    /// All tests passed.
    Survived,
    /// Nothing was tested.
    NotRun,
}

/// A verdict about a defect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) mutant: String,
    pub(super) judgement: Judgement,
    /// The tests that caught it, or the reason why none did.
    pub(super) because: String,
    pub(super) seconds: u64,
    /// The state of the defect, its file and its tests that was judged.
    pub(super) key: String,
}

/// The verdicts of earlier runs, by the names of defects.
pub(super) struct Verdicts {
    file: PathBuf,
    known: BTreeMap<String, Verdict>,
}

/// The verdicts of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    caught: u64,
    survived: u64,
    not_run: u64,
    /// The number of those that weren't reached when the user interrupted the run.
    left: u64,
    seconds: u64,
    mutants: Vec<Verdict>,
}

impl Verdict {
    pub(super) fn new(mutant: &str, key: String, outcome: &Outcome, rule: &str, seconds: u64) -> Verdict {
        let (judgement, because) = match outcome {
            Outcome::Failed(_) | Outcome::Hung => (Judgement::Caught, outcome.to_string()),
            Outcome::Passed => (Judgement::Survived, rule.to_owned()),
            Outcome::NotRun(why) => (Judgement::NotRun, why.trim().to_owned()),
        };
        Verdict { mutant: mutant.to_owned(), judgement, because, seconds, key }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { mutant, because, .. } = self;
        match self.judgement {
            Judgement::Caught => write!(f, "{mutant:<50} caught by {because}"),
            Judgement::Survived => write!(f, "{mutant:<50} SURVIVED: {because}"),
            Judgement::NotRun => write!(f, "{mutant:<50} NOT RUN: {because}"),
        }
    }
}

impl Verdicts {
    /// Reads those that are kept in a folder.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Verdicts> {
        let file = folder.join("verdicts.json");
        let known = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged: remove it", file.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", file.display())),
        };
        Ok(Verdicts { file, known })
    }

    /// Returns the verdict about a defect that was caught, if it was in this state.
    pub(super) fn caught(&self, mutant: &str, key: &str) -> Option<&Verdict> {
        self.known.get(mutant).filter(|known| known.judgement == Judgement::Caught && known.key == key)
    }

    /// Keeps a verdict in the place of an earlier one.
    pub(super) fn keep(&mut self, verdict: Verdict) -> anyhow::Result<()> {
        self.known.insert(verdict.mutant.clone(), verdict);
        let unfinished = self.file.with_extension("unfinished");
        let kept = fs::write(&unfinished, serde_json::to_vec_pretty(&self.known)?)
            .and_then(|()| fs::rename(&unfinished, &self.file));
        kept.with_context(|| format!("can't write {}", self.file.display()))
    }
}

impl Report {
    /// Begins the report of a run, with the number of its defects.
    pub(super) fn of(mutants: usize) -> Report {
        Report { left: mutants as u64, ..Report::default() }
    }

    pub(super) fn add(&mut self, verdict: Verdict) {
        let count = match verdict.judgement {
            Judgement::Caught => &mut self.caught,
            Judgement::Survived => &mut self.survived,
            Judgement::NotRun => &mut self.not_run,
        };
        *count += 1;
        self.left -= 1;
        self.seconds += verdict.seconds;
        self.mutants.push(verdict);
    }

    /// Returns the names of those that no test has caught.
    pub(super) fn uncaught(&self) -> Vec<&str> {
        self.not_caught().map(|verdict| verdict.mutant.as_str()).collect()
    }

    fn not_caught(&self) -> impl Iterator<Item = &Verdict> {
        self.mutants.iter().filter(|verdict| verdict.judgement != Judgement::Caught)
    }

    /// Returns a table for people, and a line for each that wasn't caught.
    pub(super) fn table(&self) -> String {
        let Report { caught, survived, not_run, left, seconds, .. } = self;
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["CAUGHT", "SURVIVED", "NOT RUN", "LEFT", "SECONDS"]);
        table.add_row([caught, survived, not_run, left, seconds].map(u64::to_string));
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut text = table.to_string();
        for verdict in self.not_caught() {
            let _ =
                write!(text, "\n\n{verdict}\n  try it again with: cargo xtask mutants {}", verdict.mutant);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use skv_scratch::Directory;

    use super::*;

    fn failed() -> Outcome {
        Outcome::Failed(vec!["a_test".to_owned(), "another".to_owned()])
    }

    fn verdict(mutant: &str, outcome: &Outcome) -> Verdict {
        Verdict::new(mutant, "a key".to_owned(), outcome, "A rule.", 7)
    }

    #[test]
    fn only_what_was_caught_in_the_same_state_is_passed_over() {
        let folder = Directory::new().unwrap();
        let mut verdicts = Verdicts::open(folder.path()).unwrap();
        let outcomes = [failed(), Outcome::Hung, Outcome::Passed, Outcome::NotRun("no".to_owned())];
        for (mutant, outcome) in ["a", "b", "c", "d"].into_iter().zip(&outcomes) {
            verdicts.keep(verdict(mutant, outcome)).unwrap();
        }
        let verdicts = Verdicts::open(folder.path()).unwrap();
        assert_eq!(verdicts.caught("a", "a key"), Some(&verdict("a", &failed())));
        assert_eq!(verdicts.caught("b", "a key"), Some(&verdict("b", &Outcome::Hung)));
        for (mutant, key) in [("a", "another key"), ("c", "a key"), ("d", "a key"), ("e", "a key")] {
            assert_eq!(verdicts.caught(mutant, key), None, "{mutant}");
        }
    }

    #[test]
    fn a_verdict_takes_the_place_of_the_one_before() {
        let folder = Directory::new().unwrap();
        let mut verdicts = Verdicts::open(folder.path()).unwrap();
        verdicts.keep(verdict("a", &failed())).unwrap();
        verdicts.keep(verdict("a", &Outcome::Passed)).unwrap();
        assert_eq!(Verdicts::open(folder.path()).unwrap().caught("a", "a key"), None);
    }

    #[test]
    fn a_report_counts_and_names_what_was_not_caught() {
        let mut report = Report::of(5);
        report.add(verdict("a", &failed()));
        report.add(verdict("b", &Outcome::Hung));
        report.add(verdict("c", &Outcome::Passed));
        report.add(verdict("d", &Outcome::NotRun("error: it doesn't compile\n".to_owned())));
        let text = report.table();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["2", "1", "1", "1", "28"]);
        assert!(text.contains("SURVIVED: A rule.\n  try it again with: cargo xtask mutants c"), "{text}");
        assert!(text.contains("NOT RUN: error: it doesn't compile\n"), "{text}");
        assert_eq!(report.uncaught(), ["c", "d"]);
    }

    #[test]
    fn a_report_for_programs_has_each_verdict_with_its_reason() {
        let mut report = Report::of(3);
        report.add(verdict("a", &failed()));
        report.add(verdict("b", &Outcome::Hung));
        report.add(verdict("c", &Outcome::NotRun("no".to_owned())));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["caught"], 2);
        assert_eq!(json["not_run"], 1);
        assert_eq!(json["mutants"][0]["because"], "a_test and 1 more");
        assert_eq!(json["mutants"][1]["because"], "hanging");
        assert_eq!(json["mutants"][2]["judgement"], "not_run");
        assert_eq!(json["mutants"][2]["seconds"], 7);
    }
}
