//! `cargo xtask tidy`: rules of the sources that no compiler holds.
//!
//! - `sources`, `crates`, `modules`, `imports`: the code; `finding`: a fault of it
//! - `arrows`: the crates depend on each other as ARCHITECTURE.md says
//! - `pure_crates`: crates that are pure reach no runtime, not even through others
//! - `circles`: no files of a crate import each other in a circle
//! - `pure_files`: files that call themselves pure name no clock, task or IO
//! - `dialling`: connections are made by `crates/net` alone
//! - `lengths`: no file and no function is too long
//! - `unused`: crates name all dependencies of their manifests
//! - `untested`: targets whose tests cargo is told not to run have none
//! - `openings`: doc comments begin with a verb or a noun
//! - `alerts`: the alerts and dashboards of the chart name metrics that there are, and each alert has its page
//! - `documents`: the page about the JSON of `skv` has the fields that are printed
//! - `known_bugs`: the table of known bugs names tests and defects that there are
//! - `limits`: the excesses that are allowed for now, and may only become fewer

mod alerts;
mod arrows;
mod circles;
mod crates;
mod dialling;
mod documents;
mod finding;
mod imports;
mod known_bugs;
mod lengths;
mod limits;
mod modules;
mod openings;
mod pure_crates;
mod pure_files;
mod sources;
mod untested;
mod unused;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::ensure;

use crates::Crates;
use finding::Finding;
use limits::Limits;
use modules::Module;
use sources::Sources;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Hold the sources to the project's own rules: arrows, purity, circles, lengths, comments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the limits down that have been undercut, to xtask/tidy.yaml.
    #[arg(long)]
    lower: bool,
    /// List the findings that are only counted: doc comments that begin with a clause, and files
    /// that use something of a module that builds on them.
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = Path::new(ROOT);
    let sources = Sources::load(root)?;
    let crates = Crates::load(root)?;
    let targets: Vec<Vec<Module>> =
        crates.roots().map(|root| modules::of_target(&sources, root)).collect::<anyhow::Result<_>>()?;
    let (mut findings, drawing) = arrows::read(root)?;
    findings.extend(arrows::check(&drawing, &crates));
    findings.extend(pure_crates::check(root, &drawing, &crates)?);
    findings.extend(unused::check(&sources, &crates));
    findings.extend(untested::check(&sources, &crates)?);
    findings.extend(known_bugs::check(root, &sources)?);
    findings.extend(documents::check(root, &sources)?);
    findings.extend(alerts::check(root)?);
    let mut loans = BTreeSet::new();
    for target in &targets {
        let circles = circles::check(&sources, target);
        findings.extend(circles.forbidden);
        loans.extend(circles.loans);
        findings.extend(pure_files::check(&sources, target));
        findings.extend(dialling::check(&sources, target));
    }
    findings.extend(pure_files::check_crates(&sources, &drawing, &crates, &targets));

    let limits = Limits::load(root)?;
    let (openings, comments) = openings::find(&sources);
    let measured = Limits { openings: openings.len(), loans: loans.len(), ..lengths::measure(&sources) };
    findings.extend(limits.exceeded_by(&measured));
    if args.list {
        openings.iter().chain(&loans).for_each(|counted| println!("{counted}"));
    }
    println!("{}", openings::summary(openings.len(), comments));
    limits.undercut_by(&measured).iter().for_each(|undercut| println!("{undercut}"));
    if args.lower {
        limits.lowered_to(&measured).save(root)?;
    }
    print!("{}", table(&mut findings));
    ensure!(findings.is_empty(), "rules are broken in {} places", findings.len());
    println!("{} files are tidy", sources.files().count());
    Ok(())
}

/// Sorts the findings by rules and places, and lays them out.
fn table(findings: &mut Vec<Finding>) -> String {
    findings.sort();
    findings.dedup();
    let mut table = String::new();
    for of_rule in findings.chunk_by(|one, other| one.rule == other.rule) {
        let _ = writeln!(table, "\n{}: {}", of_rule[0].rule, of_rule.len());
        for Finding { place, problem, .. } in of_rule {
            let _ = writeln!(table, "  {place}: {}", problem.replace('\n', "\n    "));
        }
    }
    table
}
