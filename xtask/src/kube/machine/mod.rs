//! A cluster on the bare machine: the control plane and each node in a network namespace of its
//! own, with their own kubelet, containerd and pod network. It needs no engine and no registry, and
//! nothing leaves the machine. It needs root.
//!
//! ```text
//!   this machine ---- link ---- control plane: etcd, API server, DNS ...
//!                               |  bridge
//!             +-----------------+-----------------+
//!           node1             node2             node3
//!       kubelet, containerd, pods in namespaces of their own
//! ```

mod certificates;
mod cgroups;
mod control_plane;
mod down;
mod namespace;
mod network;
mod node;
mod plan;
mod policies;
mod programs;
mod proxy;
mod simulated;
mod wait;

use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use super::Family;
use crate::packages::{self, Package};
use crate::{image, kwok};
pub(crate) use plan::CLUSTERS;
use plan::Plan;
use programs::Programs;

/// The packages that the clusters need on the machine.
const PACKAGES: [Package; 10] = [
    image::BUILDAH,
    Package::with_program("conntrack", "conntrack"),
    Package::with_program("containerd", "containerd"),
    Package::with_file("containernetworking-plugins", "/usr/lib/cni/bridge"),
    Package::with_program("ethtool", "ethtool"),
    Package::with_program("iproute2", "ip"),
    Package::with_program("ipset", "ipset"),
    Package::with_program("iptables", "iptables"),
    Package::with_program("openssl", "openssl"),
    Package::with_program("runc", "runc"),
];

/// A cluster on the bare machine, up or not.
pub(crate) struct Machine {
    /// The index of the cluster.
    pub(crate) index: u8,
}

impl Machine {
    /// Returns the plan of a cluster that is there already, of which only names and folders are used: they
    /// are the same with either family of addresses.
    fn plan(&self) -> Plan {
        Plan::new(self.index, Family::default())
    }

    /// Returns the first that isn't there.
    pub(crate) fn unused() -> anyhow::Result<Machine> {
        let mut machines = (0..CLUSTERS).map(|index| Machine { index });
        machines.find(|machine| !machine.exists()).context("all clusters are in use: cargo xtask kube status")
    }

    pub(super) fn exists(&self) -> bool {
        self.plan().state().exists()
    }

    /// Returns the file by which its administrator reaches the API server.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.plan().kubeconfig("admin")
    }

    pub(super) fn programs(&self) -> anyhow::Result<Programs> {
        Programs::of_cluster(&self.plan())
    }

    /// Makes what clusters need and outlives them.
    pub(super) fn prepare() -> anyhow::Result<Programs> {
        packages::need_root("a cluster of network namespaces")?;
        packages::install(&PACKAGES)?;
        Programs::build()
    }

    pub(super) fn up(&self, family: Family) -> anyhow::Result<()> {
        let programs = Machine::prepare()?;
        let plan = Plan::new(self.index, family);
        claim(&plan)?;
        start(&plan, &programs).with_context(|| {
            format!(
                "the cluster isn't complete; `cargo xtask kube down --index {}` takes it away",
                self.index
            )
        })
    }

    /// Makes a control plane whose nodes and pods are only simulated. It notes each write of one user in
    /// [`audit_log`](Self::audit_log).
    pub(crate) fn simulate(&self, user: &str) -> anyhow::Result<()> {
        let (programs, kwok) = (Machine::prepare()?, kwok::build()?);
        let plan = self.plan();
        claim(&plan)?;
        simulated::start(&plan, &programs, &kwok, user)
    }

    /// Returns the file in which writes are noted.
    pub(crate) fn audit_log(&self) -> PathBuf {
        simulated::audit_log(&self.plan())
    }

    /// Returns the folder of the logs of all processes.
    pub(crate) fn logs(&self) -> PathBuf {
        self.plan().processes()
    }

    /// Returns the address at which the machine reaches the processes of the control plane.
    pub(crate) fn address(&self) -> IpAddr {
        self.plan().api_address()
    }

    /// Returns a command that runs beside a simulated control plane, and finds its pods by their names.
    pub(crate) fn beside(&self, program: &Path) -> Command {
        simulated::beside(&self.plan(), program)
    }

    /// Returns a command of kubectl as the administrator.
    pub(crate) fn kubectl(&self) -> anyhow::Result<Command> {
        Ok(self.programs()?.kubectl(&self.plan()))
    }

    /// Applies objects of any kinds.
    pub(crate) fn apply(&self, objects: &[Value]) -> anyhow::Result<()> {
        control_plane::apply(&self.plan(), &self.programs()?, objects)
    }

    /// Takes it away, even if it is incomplete.
    pub(crate) fn down(&self) -> anyhow::Result<()> {
        down::down(&self.plan())
    }

    pub(super) fn load(&self, tar: &Path) -> anyhow::Result<()> {
        for node in self.plan().nodes() {
            node::load(&node, tar)?;
        }
        Ok(())
    }

    pub(super) fn command(&self, program: &OsString) -> anyhow::Result<Command> {
        let mut command = self.plan().control_plane().command(program);
        command.env("KUBECONFIG", self.kubeconfig()).env("PATH", self.path()?);
        Ok(command)
    }

    /// Returns the user's PATH, with kubectl and helm in front.
    pub(super) fn path(&self) -> anyhow::Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let programs = self.programs()?;
        let folders = std::iter::once(programs.dir().to_owned()).chain(std::env::split_paths(&path));
        Ok(std::env::join_paths(folders)?)
    }
}

/// Returns the folder of kubectl and helm, if they were built before.
pub(crate) fn cached_programs() -> anyhow::Result<Option<PathBuf>> {
    Ok(Programs::cached()?.map(|programs| programs.dir().to_owned()))
}

fn start(plan: &Plan, programs: &Programs) -> anyhow::Result<()> {
    eprintln!("starting a cluster in {}", plan.state().display());
    programs.remember(plan)?;
    certificates::make_authority(plan)?;
    network::make(plan)?;
    control_plane::start(plan, programs)?;
    for node in plan.nodes() {
        node::start(plan, &node, programs)?;
    }
    control_plane::await_dns(plan)?;
    for node in plan.nodes() {
        node::await_ready(plan, &node, programs)?;
    }
    Ok(())
}

/// Makes the cluster's folders. Of two callers that want the same index one fails.
fn claim(plan: &Plan) -> anyhow::Result<()> {
    let state = plan.state();
    let make = || {
        fs::create_dir_all(state.parent().unwrap_or(Path::new("/")))?;
        fs::create_dir(state)?;
        fs::create_dir(plan.certificates())?;
        fs::create_dir(plan.processes())
    };
    make().with_context(|| format!("can't make {}", state.display()))
}
