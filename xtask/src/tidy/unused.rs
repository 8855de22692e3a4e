//! A crate names each dependency of its manifest somewhere: what nothing names is compiled for nothing, and
//! tells readers of the manifest something false. Crates with a build script are passed over, since
//! nobody sees here what its generated code names.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};

use super::crates::Crates;
use super::finding::Finding;
use super::sources::Sources;

const RULE: &str = "unused dependencies";

/// Returns the dependencies that no file of their crate names.
pub(super) fn check(sources: &Sources, crates: &Crates) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in &crates.0 {
        let within =
            |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        // A folder may hold the folder of another crate.
        let is_of = |path: &str, other: &str| other.len() > one.folder.len() && within(path, other);
        let own = |path: &str| {
            within(path, &one.folder) && !crates.0.iter().any(|other| is_of(path, &other.folder))
        };
        if sources.get(&format!("{}/build.rs", one.folder)).is_some() {
            continue;
        }
        let mut named = BTreeSet::new();
        for (_, source) in sources.files().filter(|(path, _)| own(path)) {
            collect(source.tokens.clone(), &mut named);
        }
        for dependency in one.named.iter().filter(|name| !named.contains(&name.replace('-', "_"))) {
            let place = format!("{}/Cargo.toml", one.folder);
            findings.push(Finding::new(RULE, place, format!("nothing names {dependency}")));
        }
    }
    findings
}

fn collect(tokens: TokenStream, named: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect(group.stream(), named),
            TokenTree::Ident(ident) => drop(named.insert(ident.to_string())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_that_only_a_comment_a_text_or_a_crate_within_names_is_unused() {
        let mut crates = Crates::of(&[("a", &[]), ("a/b", &[])]);
        for one in &mut crates.0 {
            one.named = ["tokio", "skv-log", "serde", "openraft"].map(str::to_owned).into();
        }
        let sources = Sources::parse([
            ("crates/a/src/lib.rs", "//! tokio\nuse skv_log::Log; const OFF: &str = \"openraft=off\";"),
            ("crates/a/tests/all.rs", "fn f() { assert_eq!(serde::one(), 1); }"),
            ("crates/a/b/src/lib.rs", "use {openraft, serde, skv_log, tokio};"),
        ]);
        let findings = check(&sources.unwrap(), &crates);
        let problems: Vec<_> =
            findings.iter().map(|found| (found.place.as_str(), found.problem.as_str())).collect();
        let of = "crates/a/Cargo.toml";
        assert_eq!(problems, [(of, "nothing names openraft"), (of, "nothing names tokio")]);
    }

    #[test]
    fn a_crate_that_generates_code_is_passed_over() {
        let mut crates = Crates::of(&[("proto", &[])]);
        crates.0[0].named = ["tonic-prost".to_owned()].into();
        let sources = Sources::parse([("crates/proto/build.rs", "fn main() {}")]);
        assert!(check(&sources.unwrap(), &crates).is_empty());
    }
}
