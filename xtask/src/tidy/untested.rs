//! A target whose tests cargo doesn't run has none: a test that somebody writes there would never be red. Manifests
//! say `test = false` and `doctest = false` where there is nothing to run, since a program of no tests takes as long
//! to compile and link as any other, and rustdoc reads a whole crate to find no example.

use std::slice;

use super::crates::Crates;
use super::finding::Finding;
use super::modules;
use super::sources::{Sources, doc_line, for_each_attribute, is_for_tests};

const RULE: &str = "tests that nobody runs";
/// The languages of examples that are nothing to compile.
const NO_CODE: [&str; 2] = ["console", "text"];

/// Returns the tests, and the examples in comments, of targets for which their manifest turns them off.
pub(super) fn check(sources: &Sources, crates: &Crates) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for root in crates.untested() {
        findings.extend(within(sources, root, unit_tests, "a test in a target with `test = false`")?);
    }
    for root in crates.not_doc_tested() {
        findings.extend(within(sources, root, examples, "an example in a target with `doctest = false`")?);
    }
    Ok(findings)
}

/// Returns a finding for each of the lines that `find` returns for a file of the target.
fn within(
    sources: &Sources,
    root: &str,
    find: fn(&syn::File) -> Vec<usize>,
    problem: &str,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for module in modules::of_target(sources, root)? {
        let lines = sources.get(&module.file).map(|source| find(&source.syntax)).unwrap_or_default();
        let place = |line| Finding::new(RULE, format!("{}:{line}", module.file), problem);
        findings.extend(lines.into_iter().map(place));
    }
    Ok(findings)
}

/// Returns the lines of attributes that make something a test, or a part of tests.
fn unit_tests(file: &syn::File) -> Vec<usize> {
    let mut lines = Vec::new();
    for_each_attribute(file, |attribute| {
        let is_test = attribute.path().segments.last().is_some_and(|last| last.ident == "test");
        if is_test || is_for_tests(slice::from_ref(attribute)) {
            lines.push(attribute.pound_token.spans[0].start().line);
        }
    });
    lines
}

/// Returns the lines at which examples begin that rustdoc would compile.
fn examples(file: &syn::File) -> Vec<usize> {
    let (mut lines, mut is_open) = (Vec::new(), false);
    for_each_attribute(file, |attribute| {
        let Some((text, line)) = doc_line(attribute) else { return };
        let Some(language) = text.trim_start().strip_prefix("```") else { return };
        if !is_open && !NO_CODE.contains(&language.trim()) {
            lines.push(line);
        }
        is_open = !is_open;
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::super::crates::Root;
    use super::*;

    fn places(tested: bool, doc_tested: bool, text: &str) -> Vec<String> {
        let file = "crates/a/src/lib.rs";
        let mut crates = Crates::of(&[("a", &[])]);
        crates.0[0].roots.push(Root { file: file.to_owned(), tested, doc_tested });
        let sources = Sources::parse([(file, text)]).unwrap();
        check(&sources, &crates).unwrap().into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn a_test_is_found_where_nobody_would_run_it() {
        for text in [
            "\n#[test] fn f() {}",
            "\n#[tokio::test] async fn f() {}",
            "\n#[cfg(test)] mod tests {}",
            "fn f() {}\n#[cfg(test)] fn g() {}",
        ] {
            assert_eq!(places(false, true, text), ["crates/a/src/lib.rs:2"], "{text}");
            assert_eq!(places(true, true, text), [""; 0], "{text}");
        }
        assert_eq!(places(false, true, "#[derive(Debug)] #[cfg(unix)] struct A;"), [""; 0]);
    }

    #[test]
    fn an_example_is_found_where_nobody_would_run_it() {
        let text = "//! ```text\n//! a\n//! ```\n/// ```\n/// f();\n/// ```\nfn f() {}";
        assert_eq!(places(true, false, text), ["crates/a/src/lib.rs:4"]);
        assert_eq!(places(true, true, text), [""; 0]);
    }
}
