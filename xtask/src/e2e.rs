//! `cargo xtask e2e`: the tests that need a real Kubernetes cluster.

use std::env;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::kube::Cluster;
use crate::step::step;
use crate::{build, command, image};

/// Run the end-to-end tests on a Kubernetes cluster that is made for them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use this cluster of `cargo xtask kube up`, and leave it as it is.
    #[arg(long, value_parser = crate::kube::an_index(), conflicts_with = "context")]
    index: Option<u8>,
    /// Use the cluster of this context of your kubeconfig. It must hold a ConfigMap
    /// `skv-e2e-allowed` in its namespace `default`: the tests drain nodes and delete claims.
    #[arg(long, requires_all = ["image", "next_image"])]
    context: Option<String>,
    /// With --context: the image to test, where the cluster's nodes find it.
    #[arg(long, requires = "context")]
    image: Option<String>,
    /// With --context: another image, or another name of the same, to roll out.
    #[arg(long, requires = "context", value_name = "IMAGE")]
    next_image: Option<String>,
    /// Parts of names: only tests that have one of them are run. Some test must have each.
    names: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if !args.names.is_empty() {
        // Cargo would run no test, and succeed. The build comes first, where its progress is seen.
        build::run(build::cargo().args(TESTS).arg("--no-run"))?;
        must_exist(&args.names, &command::output(tests().arg("--list"))?)?;
    }
    if let (Some(context), Some(image), Some(next)) = (&args.context, &args.image, &args.next_image) {
        let on_cluster = |tests: &mut Command| {
            tests.env("SKV_E2E_CONTEXT", context);
        };
        return run_tests(&args.names, on_cluster, [image, next]);
    }
    if let Some(index) = args.index {
        return run_on(&Cluster::existing(index)?, &args.names);
    }
    run_on_new(&args.names)
}

/// Runs all of them on a cluster that is made for them.
pub(crate) fn run_all() -> anyhow::Result<()> {
    run_on_new(&[])
}

fn run_on_new(names: &[String]) -> anyhow::Result<()> {
    let cluster = Cluster::unused()?;
    eprintln!(
        "making cluster {0}; should this be interrupted: cargo xtask kube down --index {0}",
        cluster.index()
    );
    step("the cluster", || cluster.up())?;
    let outcome = run_on(&cluster, names);
    // A failure to take the cluster down doesn't hide the failure of the tests.
    let down = cluster.down().context("the tests' cluster is still there");
    outcome.and(down)
}

fn run_on(cluster: &Cluster, names: &[String]) -> anyhow::Result<()> {
    let images = [image::DEFAULT_NAME, image::NEXT_NAME];
    let programs = step("the programs", build::test_programs)?;
    step("the images", || {
        images.iter().try_for_each(|name| cluster.load(&image::make(name, build::Profile::Dev)?))
    })?;
    let (kubeconfig, path) = (cluster.kubeconfig()?, cluster.path()?);
    let this = env::current_exe()?;
    let on_cluster = |tests: &mut Command| {
        tests.env("SKV_E2E_KUBECONFIG", &kubeconfig).env("PATH", &path).env("SKV_PROGRAMS", &programs);
        if let Cluster::Machine(_) = cluster {
            tests.env("SKV_E2E_XTASK", &this).env("SKV_E2E_INDEX", cluster.index().to_string());
        }
    };
    run_tests(names, on_cluster, images)
}

/// The module of the tests beside which nothing may run.
const ALONE: &str = "alone::";
/// The number of other tests that run at the same time. Mostly they wait for pods.
const BESIDE_EACH_OTHER: &str = "--test-threads=3";

/// Runs the tests that may run beside each other; then the others, one at a time.
fn run_tests(
    names: &[String],
    on_cluster: impl Fn(&mut Command),
    [image, next]: [&str; 2],
) -> anyhow::Result<()> {
    let run = |arguments: &[&str], names: &[String]| {
        let mut tests = tests();
        tests.args(arguments).args(names);
        tests
            .env_remove("SKV_E2E_KUBECONFIG")
            .env_remove("SKV_E2E_CONTEXT")
            .env_remove("SKV_E2E_XTASK")
            .env("SKV_E2E_IMAGE", image)
            .env("SKV_E2E_NEXT_IMAGE", next);
        on_cluster(&mut tests);
        build::run(&mut tests)
    };
    step("end-to-end tests beside each other", || run(&[BESIDE_EACH_OTHER, "--skip", ALONE], names))?;
    // A given name chooses among all tests: the test harness knows no "and".
    let (alone, one_at_a_time) = (names_of(ALONE)?, ["--test-threads=1", "--exact"]);
    let chosen = |test: &String| names.is_empty() || names.iter().any(|name| test.contains(name.as_str()));
    let alone: Vec<String> = alone.into_iter().filter(chosen).collect();
    if alone.is_empty() {
        return Ok(());
    }
    step("end-to-end tests alone", || run(&one_at_a_time, &alone))
}

/// Returns the full names of the tests in a module.
fn names_of(module: &str) -> anyhow::Result<Vec<String>> {
    let listing = command::output(tests().arg("--list"))?;
    Ok(listed(&listing).filter(|test| test.starts_with(module)).map(str::to_owned).collect())
}

/// Returns the tests in `listing`, in the format in which tests list themselves.
fn listed(listing: &str) -> impl Iterator<Item = &str> {
    listing.lines().filter_map(|line| line.strip_suffix(": test"))
}

/// The arguments of cargo. With one package alone, dependencies would have fewer features, and be
/// compiled once more.
const TESTS: [&str; 3] = ["test", "--workspace", "--test=e2e"];

/// Returns cargo's call of the tests; arguments that are appended go to the tests.
fn tests() -> Command {
    let mut tests = build::cargo();
    tests.args(TESTS).args(["--", "--ignored"]);
    tests
}

/// Checks that each name is a part of the name of some test in `listing`.
fn must_exist(names: &[String], listing: &str) -> anyhow::Result<()> {
    let tests: Vec<_> = listed(listing).collect();
    match names.iter().find(|name| !tests.iter().any(|test| test.contains(name.as_str()))) {
        None => Ok(()),
        Some(name) => {
            bail!("no end-to-end test has {name:?} in its name. There are:\n  {}", tests.join("\n  "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_must_choose_a_test() {
        let listing = "image::servers: test\nhelm::install: test\n\n2 tests, 0 benchmarks\n";
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        must_exist(&names(&["helm", "image::s"]), listing).unwrap();
        let error = must_exist(&names(&["helm", "benchmarks"]), listing).unwrap_err().to_string();
        assert!(error.contains("\"benchmarks\"") && error.contains("helm::install"), "{error}");
    }
}
