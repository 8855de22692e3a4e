//! `cargo xtask e2e`: the tests that need a real Kubernetes cluster.

use std::process::Command;

use anyhow::Context as _;

use crate::kube::Cluster;
use crate::{build, image};

/// Run the end-to-end tests on a Kubernetes cluster that is made for them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use this cluster of `cargo xtask kube up`, and leave it as it is.
    #[arg(long, value_parser = crate::kube::an_index(), conflicts_with = "context")]
    index: Option<u8>,
    /// Use the cluster of this context of your kubeconfig. It must hold a ConfigMap
    /// `skv-e2e-allowed` in its namespace `default`: the tests drain nodes and delete claims.
    #[arg(long, requires = "image")]
    context: Option<String>,
    /// With --context: the image to test, where the cluster's nodes find it.
    #[arg(long, requires = "context")]
    image: Option<String>,
    /// Parts of names: only tests that have one of them are run.
    names: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let (Some(context), Some(image)) = (&args.context, &args.image) {
        return run_tests(&args.names, |tests| tests.env("SKV_E2E_CONTEXT", context), image);
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
    cluster.up()?;
    let outcome = run_on(&cluster, names);
    // A cluster that can't be taken down doesn't hide why the tests failed.
    let down = cluster.down().context("the tests' cluster is still there");
    outcome.and(down)
}

fn run_on(cluster: &Cluster, names: &[String]) -> anyhow::Result<()> {
    cluster.load(&image::make(image::DEFAULT_NAME)?)?;
    let kubeconfig = cluster.kubeconfig()?;
    run_tests(names, |tests| tests.env("SKV_E2E_KUBECONFIG", &kubeconfig), image::DEFAULT_NAME)
}

/// One at a time: some take nodes away.
fn run_tests(
    names: &[String],
    cluster: impl FnOnce(&mut Command) -> &mut Command,
    image: &str,
) -> anyhow::Result<()> {
    let mut tests = build::cargo();
    tests
        .args(["test", "--package=skv-e2e", "--test=e2e", "--", "--ignored", "--test-threads=1"])
        .args(names);
    tests.env_remove("SKV_E2E_KUBECONFIG").env_remove("SKV_E2E_CONTEXT").env("SKV_E2E_IMAGE", image);
    build::run(cluster(&mut tests))
}
