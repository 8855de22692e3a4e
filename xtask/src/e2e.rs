//! `cargo xtask e2e`: the tests that need a real Kubernetes cluster.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::Command;
use std::{env, thread};

use anyhow::{Context as _, bail};

use crate::kube::{Cluster, Family};
use crate::packages::Unavailable;
use crate::step::step;
use crate::{build, command, image, promtool};

/// Run the end-to-end tests on a Kubernetes cluster that is made for them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use this cluster of `cargo xtask kube up`, and leave it as it is.
    #[arg(long, value_parser = crate::kube::an_index(), conflicts_with = "context")]
    index: Option<u8>,
    /// Make a cluster whose addresses are all of this family.
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["index", "context"])]
    family: Family,
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
    let suite = Suite::build()?;
    if !args.names.is_empty() {
        // The program would run no test, and succeed.
        must_exist(&args.names, &suite.listing()?)?;
    }
    if let (Some(context), Some(image), Some(next)) = (&args.context, &args.image, &args.next_image) {
        let on_cluster = |tests: &mut Command| {
            tests.env("SKV_E2E_CONTEXT", context);
        };
        return suite.run_tests(&args.names, on_cluster, [image, next], &NOTHING);
    }
    if let Some(index) = args.index {
        return suite.run_on(&Cluster::existing(index)?, &args.names, &NOTHING);
    }
    suite.run_on_new(args.family, &args.names, &NOTHING)
}

/// Makes what a cluster needs and outlives it, if it isn't there, leaving the processors to others.
pub(crate) fn prepare() -> anyhow::Result<()> {
    // Linux has this for each thread, and what a thread starts inherits it.
    rustix::process::nice(19)?;
    Cluster::unused()?.prepare()
}

/// The tests that are also run with IPv6 alone: together they reach servers by their Service, by names of
/// pods, through the API server and by forwarded ports, before and after all pods got other addresses; and
/// policies keep strangers away.
const ON_IPV6: [&str; 3] = ["kubectl_skv::", "policies::", "quickstart::"];
/// Tests that must be alone in their cluster, and to which addresses don't matter. They have the cluster with IPv6
/// to themselves, while those that take nodes away, which last as long, have the other.
const ONLY_ON_IPV6: [&str; 6] = [
    "alone::disruption::",
    "alone::lax_definition::",
    "alone::newer_definition::",
    "alone::no_operator::",
    "alone::operators::",
    "alone::steady_state::",
];

/// Tests in another cluster, which run beside those that must be alone in theirs: these wait for minutes.
type Elsewhere<'a> = dyn Fn() -> anyhow::Result<()> + Sync + 'a;

const NOTHING: fn() -> anyhow::Result<()> = || Ok(());

/// The module of the tests beside which nothing may run.
const ALONE: &str = "alone::";
/// The number of other tests that run at the same time. Mostly they wait for pods: their clerks pause between calls.
const BESIDE_EACH_OTHER: &str = "--test-threads=4";

/// The programs that are built before the tests run: a later call of cargo would wait for those that run beside them.
pub(crate) struct Suite {
    /// The program of the tests.
    pub(crate) tests: PathBuf,
    /// The folder of the programs in the image.
    pub(crate) programs: PathBuf,
}

impl Suite {
    fn build() -> anyhow::Result<Suite> {
        let programs = step("building the programs", build::test_programs)?;
        Ok(Suite { tests: step("building the tests", build::end_to_end_tests)?, programs })
    }

    /// Runs all of them on two clusters that are made for them, of which one has only IPv6.
    pub(crate) fn run_all(&self) -> anyhow::Result<()> {
        let listing = self.listing()?;
        let on_ipv6: Vec<String> = ON_IPV6.iter().chain(&ONLY_ON_IPV6).map(|&name| name.to_owned()).collect();
        must_exist(&on_ipv6, &listing)?;
        let on_ipv4 = without(&ONLY_ON_IPV6, &listing);
        let on_other = || self.run_on_new(Family::Ipv6, &on_ipv6, &NOTHING);
        self.run_on_new(Family::Ipv4, &on_ipv4, &on_other)
    }

    fn run_on_new(&self, family: Family, names: &[String], elsewhere: &Elsewhere<'_>) -> anyhow::Result<()> {
        let cluster = Cluster::unused()?;
        eprintln!(
            "making cluster {0}; should this be interrupted: cargo xtask kube down --index {0}",
            cluster.index()
        );
        step("the cluster", || cluster.up(family))?;
        let outcome = self.run_on(&cluster, names, elsewhere);
        // A failure to take the cluster down doesn't hide the failure of the tests.
        let down = cluster.down().context("the tests' cluster is still there");
        outcome.and(down)
    }

    fn run_on(&self, cluster: &Cluster, names: &[String], elsewhere: &Elsewhere<'_>) -> anyhow::Result<()> {
        let images = [image::DEFAULT_NAME, image::NEXT_NAME];
        step("the images", || {
            images.iter().try_for_each(|name| cluster.load(&image::make(name, &self.programs)?))
        })?;
        let (kubeconfig, path) = (cluster.kubeconfig()?, cluster.path()?);
        let this = env::current_exe()?;
        let on_cluster = |tests: &mut Command| {
            tests.env("SKV_E2E_KUBECONFIG", &kubeconfig).env("PATH", &path);
            if let Cluster::Machine(_) = cluster {
                tests.env("SKV_E2E_XTASK", &this).env("SKV_E2E_INDEX", cluster.index().to_string());
            }
        };
        self.run_tests(names, on_cluster, images, elsewhere)
    }

    /// Runs the tests that may run beside each other; then the others, one at a time.
    fn run_tests(
        &self,
        names: &[String],
        on_cluster: impl Fn(&mut Command),
        [image, next]: [&str; 2],
        elsewhere: &Elsewhere<'_>,
    ) -> anyhow::Result<()> {
        let prometheus = prometheus()?;
        let run = |arguments: &[&str], names: &[String]| {
            let mut tests = self.call();
            tests.args(arguments).args(names);
            tests
                .envs(prometheus.iter().map(|program| ("SKV_E2E_PROMETHEUS", program)))
                .env_remove("SKV_E2E_KUBECONFIG")
                .env_remove("SKV_E2E_CONTEXT")
                .env_remove("SKV_E2E_XTASK")
                .env("SKV_PROGRAMS", &self.programs)
                .env("SKV_E2E_IMAGE", image)
                .env("SKV_E2E_NEXT_IMAGE", next);
            on_cluster(&mut tests);
            build::run(&mut tests)
        };
        step("end-to-end tests beside each other", || run(&[BESIDE_EACH_OTHER, "--skip", ALONE], names))?;
        // A given name chooses among all tests: the test harness knows no "and".
        let chosen = |test: &&str| names.is_empty() || names.iter().any(|name| test.contains(name.as_str()));
        let listing = self.listing()?;
        let alone = listed(&listing).filter(|test| test.starts_with(ALONE)).filter(chosen);
        let alone: Vec<String> = alone.map(str::to_owned).collect();
        if alone.is_empty() {
            return Ok(());
        }
        step("end-to-end tests alone", || {
            thread::scope(|scope| {
                let elsewhere = scope.spawn(elsewhere);
                let outcome = run(&["--test-threads=1", "--exact"], &alone);
                let elsewhere = elsewhere.join().unwrap_or_else(|panic| resume_unwind(panic));
                outcome.and(elsewhere)
            })
        })
    }

    /// Returns the names of all tests, in the format in which tests list themselves.
    fn listing(&self) -> anyhow::Result<String> {
        command::output(self.call().arg("--list"))
    }

    /// Returns a call of the tests, in the folder in which cargo runs them.
    fn call(&self) -> Command {
        let mut tests = build::by_hand(&self.tests);
        tests.arg("--ignored").current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/e2e"));
        tests
    }
}

/// Returns Prometheus, without which only the test of the dashboards fails.
fn prometheus() -> anyhow::Result<Option<PathBuf>> {
    match promtool::build() {
        Ok(folder) => Ok(Some(folder.join("prometheus"))),
        Err(error) if error.is::<Unavailable>() => {
            eprintln!("the test of the dashboards will fail: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Returns the tests in `listing`, in the format in which tests list themselves.
fn listed(listing: &str) -> impl Iterator<Item = &str> {
    listing.lines().filter_map(|line| line.strip_suffix(": test"))
}

/// Returns the tests in `listing` that have none of these parts in their names.
fn without(parts: &[&str], listing: &str) -> Vec<String> {
    let others = listed(listing).filter(|test| !parts.iter().any(|part| test.contains(*part)));
    others.map(str::to_owned).collect()
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

    #[test]
    fn tests_that_another_cluster_has_are_left_out() {
        let listing = "alone::many::get: test\nalone::nodes::cut: test\ngroups::scale: test\n\n3 tests\n";
        assert_eq!(without(&["alone::many::"], listing), ["alone::nodes::cut", "groups::scale"]);
    }
}
