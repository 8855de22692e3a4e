//! Crates that ARCHITECTURE.md marks as pure reach no runtime, network or randomness, not even
//! through others; and each has a `clippy.toml` that forbids the clock.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::anyhow;

use super::arrows::Drawing;
use super::crates::Crates;
use super::finding::Finding;
use crate::{build, command};

const RULE: &str = "pure crates";
/// Packages that talk to the world, or draw from it.
const IMPURE: [&str; 14] = [
    "async-std",
    "axum",
    "fastrand",
    "getrandom",
    "hyper",
    "kube-client",
    "kube-runtime",
    "mio",
    "openraft",
    "rand",
    "reqwest",
    "socket2",
    "tokio",
    "tonic",
];
/// Methods that the `clippy.toml` of a pure crate forbids.
const FORBIDDEN: [&str; 3] =
    ["std::time::Instant::now", "std::time::Instant::elapsed", "std::time::SystemTime::now"];

pub(super) fn check(root: &Path, drawing: &Drawing, crates: &Crates) -> anyhow::Result<Vec<Finding>> {
    let pure: Vec<_> = drawing.pure().filter_map(|name| crates.get(name)).collect();
    // Each is a call of cargo.
    let trees: Vec<anyhow::Result<String>> = thread::scope(|scope| {
        let calls = pure.iter().map(|one| scope.spawn(|| tree(root, &one.package))).collect::<Vec<_>>();
        calls.into_iter().map(|call| call.join().unwrap_or_else(|_| Err(anyhow!("cargo tree")))).collect()
    });
    let mut findings = Vec::new();
    for (one, tree) in pure.into_iter().zip(trees) {
        findings.extend(judge_tree(&one.name, &tree?));
        let file = format!("{}/clippy.toml", one.folder);
        findings.extend(judge_lints(&file, &fs::read_to_string(root.join(&file)).unwrap_or_default()));
    }
    Ok(findings)
}

/// Returns cargo's tree of a package alone: together with others, its dependencies have more features.
fn tree(root: &Path, package: &str) -> anyhow::Result<String> {
    let mut cargo = build::cargo();
    cargo.args(["tree", "--package", package, "--edges=normal", "--prefix=none", "--format={p}"]);
    command::output(cargo.current_dir(root))
}

fn judge_tree(name: &str, tree: &str) -> Vec<Finding> {
    let packages: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let impure = IMPURE.into_iter().filter(|package| packages.contains(package));
    impure.map(|package| Finding::new(RULE, name, format!("is pure, but depends on {package}"))).collect()
}

fn judge_lints(file: &str, lints: &str) -> Vec<Finding> {
    let missing = FORBIDDEN.into_iter().filter(|method| !lints.contains(&format!("\"{method}\"")));
    missing.map(|method| Finding::new(RULE, file, format!("doesn't forbid {method}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pure_crate_reaches_is_judged_through_others_too() {
        let tree = "skv-store v0.1.0 (/w/crates/store)\nprost v0.14.4\nbytes v1.12.1\nprost v0.14.4 (*)\n";
        assert_eq!(judge_tree("store", tree), []);
        let found = judge_tree("store", &format!("{tree}h2 v0.4.0\ntokio v1.54.1\ntokio-util v0.7.20\n"));
        assert_eq!(found, [Finding::new(RULE, "store", "is pure, but depends on tokio")]);
    }

    #[test]
    fn a_pure_crate_has_lints_that_forbid_the_clock() {
        let lints = FORBIDDEN.map(|method| format!("{{ path = \"{method}\" }}")).join("\n");
        assert_eq!(judge_lints("crates/store/clippy.toml", &lints), []);
        assert_eq!(judge_lints("crates/store/clippy.toml", "").len(), FORBIDDEN.len());
    }
}
