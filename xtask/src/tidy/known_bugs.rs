//! The table of known bugs: each row names tests of the tree, and each defect on purpose is one of
//! `tests/mutants.yaml`. A table whose tests were renamed proves nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::finding::Finding;
use super::sources::Sources;
use crate::mutants;

const PAGE: &str = "docs/design/known-bugs.md";
const RULE: &str = "known bugs";
/// The folder of the tests in Python.
const PYTHON: &str = "bindings/python/tests";

/// The columns of a row: the bug, what would have found it, its tests, and whether they were seen red.
const COLUMNS: usize = 4;

/// Returns a finding for each name that isn't there, and for each row without a test.
pub(super) fn check(root: &Path, sources: &Sources) -> anyhow::Result<Vec<Finding>> {
    let page = fs::read_to_string(root.join(PAGE)).with_context(|| format!("can't read {PAGE}"))?;
    let mut tests = BTreeSet::new();
    sources.files().for_each(|(_, source)| collect(source.tokens.clone(), &mut tests));
    for entry in fs::read_dir(root.join(PYTHON)).with_context(|| format!("can't read {PYTHON}"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "py") {
            let text = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
            let names = text.lines().filter_map(|line| line.strip_prefix("def ")?.split('(').next());
            tests.extend(names.filter(|name| name.starts_with("test_")).map(str::to_owned));
        }
    }
    let defects = mutants::load()?.into_iter().map(|mutant| mutant.name).collect();
    Ok(problems(&page, &tests, &defects))
}

/// Adds the names of the functions that are marked as tests, also those inside of macros.
fn collect(tokens: TokenStream, tests: &mut BTreeSet<String>) {
    let (mut is_test, mut is_name) = (false, false);
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let text = group.stream().to_string();
                let is_attribute = group.delimiter() == Delimiter::Bracket;
                is_test |= is_attribute && (text == "test" || text.starts_with("tokio :: test"));
                collect(group.stream(), tests);
            }
            TokenTree::Ident(word) if is_name => {
                tests.insert(word.to_string());
                (is_test, is_name) = (false, false);
            }
            TokenTree::Ident(word) if word == "fn" => is_name = std::mem::take(&mut is_test),
            _ => {}
        }
    }
}

fn problems(page: &str, tests: &BTreeSet<String>, defects: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(page.lines()) {
        let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else { continue };
        let cells: Vec<&str> = row.split(" | ").collect();
        let mut add =
            |problem: String| findings.push(Finding::new(RULE, format!("{PAGE}:{number}"), problem));
        let [_, _, reproduced, seen_red] = cells.as_slice() else {
            add(format!("a row has {COLUMNS} columns, not {}", cells.len()));
            continue;
        };
        if *reproduced == "test" {
            continue;
        }
        if code(reproduced).next().is_none() {
            add("no test reproduces it".to_owned());
        }
        for name in code(reproduced).filter(|name| !tests.contains(*name)) {
            add(format!("there is no test {name}"));
        }
        for name in code(seen_red).filter(|name| !defects.contains(*name)) {
            add(format!("tests/mutants.yaml has no {name}"));
        }
    }
    findings
}

/// Returns the pieces of code in a cell.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn tests_are_found_in_modules_and_macros() {
        let text = "fn helper() {} #[test] fn a_rule_holds() {}
                    mod tests { #[tokio::test(flavor = \"multi_thread\")] #[ignore] async fn it_waits() { fn no() {} } }
                    proptest! { #![config(1)] #[test] fn whatever_comes(x in 0..3) {} }";
        let mut found = BTreeSet::new();
        collect(text.parse().unwrap(), &mut found);
        assert_eq!(found, names(&["a_rule_holds", "it_waits", "whatever_comes"]));
    }

    #[test]
    fn a_row_names_tests_and_defects_that_there_are() {
        let page = "| bug | found by | test | seen red |\n|---|---|---|---|\n\
                    | a `x` | users | `a_rule_holds` | by `a-defect` |\n\
                    | b | users | `renamed` | by `gone` |\n| c | users | none | no |\n| d | e |\n";
        let found = problems(page, &names(&["a_rule_holds"]), &names(&["a-defect"]));
        let found: Vec<String> =
            found.into_iter().map(|finding| format!("{} {}", finding.place, finding.problem)).collect();
        assert_eq!(
            found,
            [
                "docs/design/known-bugs.md:4 there is no test renamed",
                "docs/design/known-bugs.md:4 tests/mutants.yaml has no gone",
                "docs/design/known-bugs.md:5 no test reproduces it",
                "docs/design/known-bugs.md:6 a row has 4 columns, not 2",
            ]
        );
    }
}
