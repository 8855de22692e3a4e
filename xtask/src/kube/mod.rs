//! `cargo xtask kube`: real Kubernetes clusters for the tests, and for trying things out.
//!
//! If a Docker engine runs, [`kind`] makes them; otherwise [`machine`] makes them of network
//! namespaces. Clusters are distinguished by an index. Only clusters that were made here are ever
//! touched: a KUBECONFIG of the caller is ignored.

mod family;
mod kind;
pub(crate) mod machine;
mod nodes;
mod status;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, ensure};
use clap::builder::RangedI64ValueParser;

pub(crate) use family::Family;
use kind::Kind;
use machine::Machine;
use status::Format;

use crate::packages::docker_runs;

/// Make a real Kubernetes cluster of three nodes on this machine.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Subcommand,
}

#[derive(clap::Subcommand)]
enum Subcommand {
    /// Make a cluster. The first time this builds Kubernetes, which takes some minutes.
    Up {
        #[command(flatten)]
        which: Which,
        /// The family of its addresses.
        #[arg(long, value_enum, default_value_t)]
        family: Family,
    },
    /// Take a cluster down, and leave nothing of it.
    Down(Which),
    /// Show the clusters that were made here.
    Status {
        /// The form of the output.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Give the nodes an image: an archive as `docker save` and `buildah push` write it.
    Load {
        #[command(flatten)]
        which: Which,
        /// The archive.
        tar: PathBuf,
    },
    /// Run a command where it reaches the cluster: its pods and Services, too, unless kind
    /// made it.
    In {
        #[command(flatten)]
        which: Which,
        /// The command, such as `kubectl get nodes`; without one, a shell.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

#[derive(clap::Args, Clone, Copy)]
struct Which {
    /// The index of the cluster.
    #[arg(long, default_value_t = 0, value_parser = an_index())]
    index: u8,
}

/// A cluster, up or not.
pub(crate) enum Cluster {
    /// Made by kind.
    Kind(Kind),
    /// Made of network namespaces.
    Machine(Machine),
}

impl Cluster {
    /// Returns the cluster with this index, made in the way that this machine allows.
    pub(crate) fn new(index: u8) -> Cluster {
        if docker_runs() { Cluster::Kind(Kind { index }) } else { Cluster::Machine(Machine { index }) }
    }

    /// Returns a cluster that is there.
    pub(crate) fn existing(index: u8) -> anyhow::Result<Cluster> {
        let cluster = Cluster::new(index);
        ensure!(
            cluster.exists(),
            "there is no cluster {index}: `cargo xtask kube up --index {index}` makes one"
        );
        Ok(cluster)
    }

    /// Returns the first cluster that isn't there.
    pub(crate) fn unused() -> anyhow::Result<Cluster> {
        let mut clusters = (0..machine::CLUSTERS).map(Cluster::new);
        clusters.find(|cluster| !cluster.exists()).context("all clusters are in use: cargo xtask kube status")
    }

    /// Returns true if any part of it is there.
    pub(crate) fn exists(&self) -> bool {
        match self {
            Cluster::Kind(kind) => kind.exists(),
            Cluster::Machine(machine) => machine.exists(),
        }
    }

    /// Makes what it needs and outlives it: programs and packages.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        match self {
            // kind downloads what it needs when it makes the cluster.
            Cluster::Kind(_) => Ok(()),
            Cluster::Machine(_) => Machine::prepare().map(drop),
        }
    }

    /// Makes it, and waits until its nodes are ready.
    pub(crate) fn up(&self, family: Family) -> anyhow::Result<()> {
        ensure!(
            !self.exists(),
            "cluster {0} is there already: `cargo xtask kube down --index {0}` takes it away",
            self.index()
        );
        match self {
            Cluster::Kind(kind) => kind.up(family),
            Cluster::Machine(machine) => machine.up(family),
        }
    }

    /// Takes it away, even if it is incomplete.
    pub(crate) fn down(&self) -> anyhow::Result<()> {
        match self {
            Cluster::Kind(kind) => kind.down(),
            Cluster::Machine(machine) => machine.down(),
        }
    }

    /// Gives all nodes the images of an archive.
    pub(crate) fn load(&self, tar: &Path) -> anyhow::Result<()> {
        ensure!(tar.is_file(), "there is no archive {}", tar.display());
        match self {
            Cluster::Kind(kind) => kind.load(tar),
            Cluster::Machine(machine) => machine.load(tar),
        }
    }

    /// Returns the file by which clients reach its API server, from anywhere on this machine.
    pub(crate) fn kubeconfig(&self) -> anyhow::Result<PathBuf> {
        match self {
            Cluster::Kind(kind) => kind.kubeconfig(),
            Cluster::Machine(machine) => Ok(machine.kubeconfig()),
        }
    }

    /// Returns a command that works on this cluster and no other.
    pub(crate) fn command(&self, program: &OsString) -> anyhow::Result<Command> {
        match self {
            Cluster::Kind(kind) => kind.command(program),
            Cluster::Machine(machine) => machine.command(program),
        }
    }

    /// Returns the PATH with kubectl and helm.
    pub(crate) fn path(&self) -> anyhow::Result<OsString> {
        match self {
            Cluster::Kind(_) => Ok(env::var_os("PATH").unwrap_or_default()),
            Cluster::Machine(machine) => machine.path(),
        }
    }

    /// Returns its index.
    pub(crate) fn index(&self) -> u8 {
        match self {
            Cluster::Kind(kind) => kind.index,
            Cluster::Machine(machine) => machine.index,
        }
    }
}

/// Reads the index of a cluster from the command line.
pub(crate) fn an_index() -> RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(..i64::from(machine::CLUSTERS))
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Subcommand::Up { which, family } => {
            let cluster = Cluster::new(which.index);
            cluster.up(*family)?;
            print_how_to_use(&cluster)
        }
        Subcommand::Down(which) => Cluster::new(which.index).down(),
        Subcommand::Status { output } => status::run(*output),
        Subcommand::Load { which, tar } => Cluster::existing(which.index)?.load(tar),
        Subcommand::In { which, command } => run_in(&Cluster::existing(which.index)?, command),
    }
}

fn run_in(cluster: &Cluster, command: &[OsString]) -> anyhow::Result<()> {
    let shell = [env::var_os("SHELL").unwrap_or_else(|| "sh".into())];
    let command = if command.is_empty() { &shell } else { command };
    let status: ExitStatus = cluster.command(&command[0])?.args(&command[1..]).status()?;
    // Its status is this command's status: scripts depend on it.
    std::process::exit(status.code().unwrap_or(1));
}

fn print_how_to_use(cluster: &Cluster) -> anyhow::Result<()> {
    let index = match cluster.index() {
        0 => String::new(),
        index => format!(" --index {index}"),
    };
    let kubeconfig = cluster.kubeconfig()?;
    println!("{} nodes are ready. Use them with\n  export KUBECONFIG={}", nodes::COUNT, kubeconfig.display());
    if let Cluster::Machine(machine) = cluster {
        println!("  export PATH={}:$PATH   # kubectl and helm", machine.programs()?.dir().display());
    }
    println!(
        "  kubectl get nodes\nor, where Services and pods can be reached too, with\n  \
         cargo xtask kube in{index} kubectl get nodes\nTake them down with\n  cargo xtask kube down{index}"
    );
    Ok(())
}
