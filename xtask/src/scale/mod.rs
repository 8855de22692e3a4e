//! `cargo xtask scale`: the operator with many resources. Nodes and pods are simulated; the API server, Kubernetes'
//! controllers and the operator are real.
//!
//! - `world`: the objects that are made (pure)
//! - `operator`: the process that is measured; `page`: what it and the kernel say of it (pure)
//! - `writes`: the writes that the API server has noted
//! - `figures`: what was measured, as a table or as JSON (pure)

mod figures;
mod operator;
mod page;
mod wait;
mod world;
mod writes;

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::Instant;

use crate::build::{self, Profile};
use crate::command::{output, run as run_command};
use crate::format::Format;
use crate::kube::machine::Machine;
use crate::step::step;
use figures::{Figures, Quiet, Resync};
use operator::{Operator, PAUSE};
use wait::until;
use world::World;
use writes::Writes;

const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds");
const OPERATOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/operator");
/// The operator's account, as its manifest has it.
const ACCOUNT: &str = "system:serviceaccount:skv-operator:skv-operator";

/// The pause after which everything counts as settled if nothing was written: each resource is passed over every 30
/// seconds.
const SETTLED: Duration = Duration::from_secs(45);
/// The pause between two lists of all resources, which cost the processors that the rest needs.
const LIST_AGAIN: Duration = Duration::from_secs(5);

/// Measure the operator with many resources, on nodes that are simulated. It needs root and Go, and takes some half an
/// hour.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The number of resources, each of three groups of three servers.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=2000))]
    resources: u32,
    /// The profile in which the operator is compiled.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// The seconds for which writes are counted when all is done.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    quiet: u32,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let programs = step("the operator", || build::programs(args.profile, &["skv-operator"]))?;
    let cluster = Machine::unused()?;
    eprintln!(
        "making control plane {0}; should this be interrupted: cargo xtask kube down --index {0}",
        cluster.index
    );
    let figures = step("the control plane", || cluster.simulate(ACCOUNT))
        .and_then(|()| measure(&cluster, &programs.join("skv-operator"), args))
        .with_context(|| format!("it is left as it is, with logs in {}", cluster.logs().display()))?;
    cluster.down().context("the control plane is still there")?;
    match args.output {
        Format::Json => println!("{}", serde_json::to_string_pretty(&figures)?),
        Format::Table => println!("{}", figures.table()),
    }
    let missed = figures.missed();
    ensure!(missed.is_empty(), "beyond the limit: {}", missed.join(", "));
    Ok(())
}

fn measure(cluster: &Machine, program: &Path, args: &Args) -> anyhow::Result<Figures> {
    let world = World { resources: args.resources };
    step("namespaces and volumes", || prepare(cluster, &world))?;
    let mut writes = Writes::in_log(cluster.audit_log());
    let first = Operator::start(cluster, program, "operator-1")?;
    let began = Instant::now();
    step("making the resources", || world.batches().try_for_each(|batch| cluster.apply(&batch)))?;
    let passed_s = step("each passed over once", || {
        until("all resources were passed over", PAUSE, || {
            Ok(first.metric("skv_operator_resources")? >= world.count())
        })?;
        Ok(began.elapsed().as_secs_f64())
    })?;
    let ready_s = step("all servers ready", || {
        until("all servers are ready", LIST_AGAIN, || ready(cluster, &world))?;
        Ok(began.elapsed().as_secs_f64())
    })?;
    step("settling", || settle(&mut writes))?;
    let grown = first.memory()?;
    let (writes_to_make, passes) = (writes.total(), first.metric(PASSES)?);
    let quiet = step("counting writes", || {
        sleep(Duration::from_secs(args.quiet.into()));
        writes.read()?;
        Ok(Quiet {
            seconds: args.quiet,
            passes: first.metric(PASSES)? - passes,
            writes: writes.total() - writes_to_make,
        })
    })?;
    first.stop()?;
    let resync = step("the resync", || resync(cluster, program, &world, &mut writes))?;
    Ok(Figures { resources: args.resources, passed_s, ready_s, writes_to_make, grown, quiet, resync })
}

/// The metric of passes.
const PASSES: &str = "skv_operator_reconciliations_total";

/// Makes everything but the resources and the operator.
fn prepare(cluster: &Machine, world: &World) -> anyhow::Result<()> {
    for folder in [DEFINITIONS, OPERATOR] {
        run_command(cluster.kubectl()?.args(["apply", "--server-side", "-f", folder]))?;
    }
    let established = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
    run_command(cluster.kubectl()?.args(established))?;
    cluster.apply(&world.namespaces())?;
    world.volumes().try_for_each(|batch| cluster.apply(&batch))
}

/// Returns true if each resource has all its servers.
fn ready(cluster: &Machine, world: &World) -> anyhow::Result<bool> {
    let list = ["get", "shardedkvs", "--all-namespaces", "--no-headers"];
    let listed = output(cluster.kubectl()?.args(list))?;
    Ok(world.are_all_ready(&listed))
}

/// Waits until the operator writes nothing.
fn settle(writes: &mut Writes) -> anyhow::Result<()> {
    until("the operator writes nothing", Duration::ZERO, || {
        writes.read()?;
        let before = writes.total();
        sleep(SETTLED);
        writes.read()?;
        Ok(writes.total() == before)
    })
}

/// Starts the operator again: it knows nothing of what its predecessor did.
fn resync(cluster: &Machine, program: &Path, world: &World, writes: &mut Writes) -> anyhow::Result<Resync> {
    writes.read()?;
    let (began, before) = (Instant::now(), writes.total());
    let second = Operator::start(cluster, program, "operator-2")?;
    until("all resources were passed over again", PAUSE, || {
        Ok(second.metric("skv_operator_resources")? >= world.count())
    })?;
    let seconds = began.elapsed().as_secs_f64();
    writes.read()?;
    let resync = Resync { seconds, writes: writes.total() - before, memory: second.memory()? };
    second.stop()?;
    Ok(resync)
}
