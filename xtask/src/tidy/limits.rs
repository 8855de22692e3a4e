//! Excesses that are allowed for now, in `xtask/tidy.yaml`. None may grow; those that shrink are
//! written down by `cargo xtask tidy --lower`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::finding::Finding;

/// The most lines that a file may have.
pub(super) const FILE: usize = 500;
/// The most lines that a function may have, from its name to its end.
pub(super) const FUNCTION: usize = 70;

const PATH: &str = "xtask/tidy.yaml";
const HEADER: &str = "\
# Excesses that `cargo xtask tidy` allows for now. Each number may only fall:
# `cargo xtask tidy --lower` writes down what has been reached.
";

/// The lines of each file or function.
type Lengths = BTreeMap<String, usize>;

/// Numbers that may not be exceeded.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Doc comments that begin with a clause.
    pub(super) openings: usize,
    /// Files that use something of a module around them, which builds on them.
    #[serde(default)]
    pub(super) loans: usize,
    /// Files that are too long, by their paths, with their lines.
    #[serde(default)]
    pub(super) files: Lengths,
    /// Functions that are too long, by `path name`, with their lines.
    #[serde(default)]
    pub(super) functions: Lengths,
}

impl Limits {
    pub(super) fn load(root: &Path) -> anyhow::Result<Limits> {
        let text = fs::read_to_string(root.join(PATH)).with_context(|| format!("can't read {PATH}"))?;
        serde_saphyr::from_str(&text).context(PATH)
    }

    pub(super) fn save(&self, root: &Path) -> anyhow::Result<()> {
        fs::write(root.join(PATH), self.text()).with_context(|| format!("can't write {PATH}"))
    }

    fn text(&self) -> String {
        let mut text = format!("{HEADER}\nopenings: {}\nloans: {}\n", self.openings, self.loans);
        for (name, limits) in [("files", &self.files), ("functions", &self.functions)] {
            if !limits.is_empty() {
                let _ = write!(text, "\n{name}:\n");
            }
            for (what, limit) in limits {
                let _ = writeln!(text, "  {what}: {limit}");
            }
        }
        text
    }

    pub(super) fn exceeded_by(&self, measured: &Limits) -> Vec<Finding> {
        let mut findings = Vec::new();
        if measured.openings > self.openings {
            let problem = format!(
                "{} doc comments begin with What, Whether, How ..., {} are allowed: see `--list`",
                measured.openings, self.openings
            );
            findings.push(Finding::new("openings", PATH, problem));
        }
        if measured.loans > self.loans {
            let problem = format!(
                "{} files use something of a module that builds on them, {} are allowed: see `--list`",
                measured.loans, self.loans
            );
            findings.push(Finding::new("circles", PATH, problem));
        }
        for (allowed, measured, most) in self.pairs(measured) {
            for (what, &lines) in measured {
                let most = allowed.get(what).copied().unwrap_or(most);
                if lines > most {
                    findings.push(Finding::new(
                        "lengths",
                        what,
                        format!("{lines} lines, {most} are allowed"),
                    ));
                }
            }
        }
        findings
    }

    /// Returns a line for each number that is higher than it has to be.
    pub(super) fn undercut_by(&self, measured: &Limits) -> Vec<String> {
        let mut lines = Vec::new();
        if measured.openings < self.openings {
            lines.push(format!("openings may be lowered from {} to {}", self.openings, measured.openings));
        }
        if measured.loans < self.loans {
            lines.push(format!("loans may be lowered from {} to {}", self.loans, measured.loans));
        }
        for (allowed, measured, _) in self.pairs(measured) {
            for (what, most) in allowed {
                match measured.get(what) {
                    None => lines.push(format!("{what} needs no exception any more")),
                    Some(now) if now < most => lines.push(format!("{what}: {most} may be lowered to {now}")),
                    Some(_) => {}
                }
            }
        }
        lines
    }

    /// Returns the lower one of each pair; an excess that isn't allowed stays so.
    pub(super) fn lowered_to(&self, measured: &Limits) -> Limits {
        let lower = |allowed: &Lengths, measured: &Lengths| {
            let both = allowed
                .iter()
                .filter_map(|(what, most)| Some((what.clone(), *most.min(measured.get(what)?))));
            both.collect()
        };
        Limits {
            openings: self.openings.min(measured.openings),
            loans: self.loans.min(measured.loans),
            files: lower(&self.files, &measured.files),
            functions: lower(&self.functions, &measured.functions),
        }
    }

    /// Returns files and functions: those that are allowed, those measured, and the general limit.
    fn pairs<'a>(&'a self, measured: &'a Limits) -> [(&'a Lengths, &'a Lengths, usize); 2] {
        [(&self.files, &measured.files, FILE), (&self.functions, &measured.functions, FUNCTION)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(openings: usize, files: &[(&str, usize)]) -> Limits {
        let files = files.iter().map(|&(path, lines)| (path.to_owned(), lines)).collect();
        Limits { openings, loans: 0, files, functions: BTreeMap::new() }
    }

    #[test]
    fn what_grows_is_found_and_what_shrinks_may_be_lowered() {
        let allowed = limits(10, &[("a.rs", 600), ("b.rs", 600), ("c.rs", 600), ("gone.rs", 600)]);
        let measured = limits(11, &[("a.rs", 601), ("b.rs", 600), ("c.rs", 599), ("new.rs", 501)]);
        let found: Vec<String> = allowed
            .exceeded_by(&measured)
            .into_iter()
            .map(|finding| format!("{} {}", finding.place, finding.problem))
            .collect();
        assert!(found[0].contains("11 doc comments") && found[0].contains("10 are allowed"), "{found:?}");
        assert_eq!(found[1..], ["a.rs 601 lines, 600 are allowed", "new.rs 501 lines, 500 are allowed"]);
        let undercut = ["c.rs: 600 may be lowered to 599", "gone.rs needs no exception any more"];
        assert_eq!(allowed.undercut_by(&measured), undercut);
        let lowered = limits(10, &[("a.rs", 600), ("b.rs", 600), ("c.rs", 599)]);
        assert_eq!(allowed.lowered_to(&measured), lowered);
        assert_eq!(limits(12, &[]).undercut_by(&measured), ["openings may be lowered from 12 to 11"]);
        let measured = Limits { loans: 1, ..Limits::default() };
        assert_eq!(limits(0, &[]).exceeded_by(&measured)[0].rule, "circles");
        assert_eq!(measured.undercut_by(&limits(0, &[])), ["loans may be lowered from 1 to 0"]);
    }

    #[test]
    fn limits_are_read_as_they_are_written() {
        let mut limits = limits(7, &[("a/b.rs", 600)]);
        limits.functions.insert("a/b.rs f".to_owned(), 80);
        assert_eq!(serde_saphyr::from_str::<Limits>(&limits.text()).unwrap(), limits);
    }
}
