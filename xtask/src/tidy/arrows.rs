//! The crates depend on each other as ARCHITECTURE.md says: its block of code that is marked
//! `crates` has a line `raft -> log, store` for each crate, in layers, so that arrows go downwards
//! only. `store (pure) -> ...` marks a pure crate, a colon begins a remark, and a line that begins with
//! # is a comment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::crates::Crates;
use super::finding::Finding;

const FILE: &str = "ARCHITECTURE.md";
const OPENING: &str = "```crates";
const RULE: &str = "arrows";

/// A line of the block.
#[derive(Debug)]
struct Drawn {
    line: usize,
    pure: bool,
    dependencies: BTreeSet<String>,
}

/// The block.
#[derive(Debug, Default)]
pub(super) struct Drawing(BTreeMap<String, Drawn>);

impl Drawing {
    /// Returns the names of the crates that are said to be pure.
    pub(super) fn pure(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, drawn)| drawn.pure).map(|(name, _)| name.as_str())
    }
}

/// Reads the block, and finds its own faults.
pub(super) fn read(root: &Path) -> anyhow::Result<(Vec<Finding>, Drawing)> {
    let text = fs::read_to_string(root.join(FILE)).with_context(|| format!("can't read {FILE}"))?;
    Ok(parse(&text))
}

fn at(line: usize) -> String {
    format!("{FILE}:{line}")
}

/// Reads the block in a text.
pub(super) fn parse(text: &str) -> (Vec<Finding>, Drawing) {
    let mut findings = Vec::new();
    let mut drawing = Drawing::default();
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let inside = lines.skip_while(|(_, line)| *line != OPENING).skip(1);
    for (line, text) in inside.take_while(|(_, line)| *line != "```") {
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let Some((left, right)) = text.split_once("->") else {
            findings.push(Finding::new(RULE, at(line), "isn't of the form `crate -> crate, crate`"));
            continue;
        };
        let (left, right) = (left.trim(), right.split_once(':').map_or(right, |(right, _)| right));
        let (name, pure) = match left.strip_suffix("(pure)") {
            Some(name) => (name.trim_end(), true),
            None => (left, false),
        };
        let names = right.split(',').map(str::trim).filter(|name| !name.is_empty());
        let drawn = Drawn { line, pure, dependencies: names.map(str::to_owned).collect() };
        if drawing.0.insert(name.to_owned(), drawn).is_some() {
            findings.push(Finding::new(RULE, at(line), format!("{name} has a line already")));
        }
    }
    if drawing.0.is_empty() {
        findings.push(Finding::new(RULE, FILE, format!("has no block of code that begins with {OPENING}")));
    }
    (findings, drawing)
}

/// Compares the block with cargo's metadata.
pub(super) fn check(drawing: &Drawing, crates: &Crates) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in &crates.0 {
        let right = || {
            let names: Vec<&str> = one.dependencies.iter().map(String::as_str).collect();
            format!("{} -> {}", one.name, names.join(", "))
        };
        let Some(drawn) = drawing.0.get(&one.name) else {
            findings.push(Finding::new(RULE, FILE, format!("a line is missing: {}", right())));
            continue;
        };
        if drawn.dependencies != one.dependencies {
            findings.push(Finding::new(RULE, at(drawn.line), format!("by Cargo.toml it is {}", right())));
        }
    }
    for (name, drawn) in &drawing.0 {
        if crates.get(name).is_none() {
            findings.push(Finding::new(RULE, at(drawn.line), format!("there is no crate {name}")));
        }
        let upwards = |other: &&String| drawing.0.get(*other).is_some_and(|other| other.line <= drawn.line);
        for other in drawn.dependencies.iter().filter(upwards) {
            findings.push(Finding::new(RULE, at(drawn.line), format!("{name} -> {other} goes upwards")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(block: &str, crates: &[(&str, &[&str])]) -> Vec<(String, String)> {
        let (mut findings, drawing) = parse(&format!("# Map\n\n{block}"));
        findings.extend(check(&drawing, &Crates::of(crates)));
        findings.into_iter().map(|finding| (finding.place, finding.problem)).collect()
    }

    const THREE: [(&str, &[&str]); 3] = [("raft", &["log", "store"]), ("log", &["store"]), ("store", &[])];
    const DRAWN: &str = "```crates\n# layers\nraft -> store, log\n\nlog -> store\nstore (pure) ->\n```\n";

    #[test]
    fn a_block_that_is_right_is_silent() {
        assert_eq!(problems(DRAWN, &THREE), []);
        assert_eq!(parse(DRAWN).1.pure().collect::<Vec<_>>(), ["store"]);
    }

    #[test]
    fn an_arrow_that_is_missing_or_too_many_names_its_line() {
        let expected = ("ARCHITECTURE.md:7".to_owned(), "by Cargo.toml it is log -> store".to_owned());
        assert_eq!(problems(&DRAWN.replace("log -> store", "log ->"), &THREE), [expected]);
        let found = problems(&DRAWN.replace("store (pure) ->", "store (pure) -> disk"), &THREE);
        assert_eq!(found, [("ARCHITECTURE.md:8".to_owned(), "by Cargo.toml it is store -> ".to_owned())]);
    }

    #[test]
    fn each_crate_has_one_line_and_each_line_a_crate() {
        let found = problems(&DRAWN.replace("log -> store", "lag -> store"), &THREE);
        let found: Vec<&str> = found.iter().map(|(_, problem)| problem.as_str()).collect();
        assert_eq!(found, ["a line is missing: log -> store", "there is no crate lag"]);
        let found = problems(&DRAWN.replace("# layers", "log -> store"), &THREE);
        assert!(found.iter().any(|(_, problem)| problem == "log has a line already"), "{found:?}");
    }

    #[test]
    fn an_arrow_that_goes_upwards_is_wrong_even_if_cargo_has_it() {
        let block = "```crates\nstore ->\nlog -> store\nraft -> log, store\n```\n";
        let found = problems(block, &THREE);
        let found: Vec<&str> = found.iter().map(|(_, problem)| problem.as_str()).collect();
        let expected =
            ["log -> store goes upwards", "raft -> log goes upwards", "raft -> store goes upwards"];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_map_without_the_block_is_wrong() {
        assert!(problems("text", &[])[0].1.contains("has no block"));
        assert!(problems("```crates\nlog store\n```\n", &[])[0].1.contains("isn't of the form"));
    }
}
