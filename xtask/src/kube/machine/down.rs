//! Taking a cluster down. It may be incomplete: the machine may have restarted, or its start may
//! have failed half way.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

use super::namespace::Namespace;
use super::plan::{Node, Plan};
use super::{cgroups, control_plane, network, node, wait};
use crate::command::{output, run, succeeds};

/// The place where the library behind containerd's pod networks keeps the addresses of each pod.
const CNI_RESULTS: &str = "/var/lib/cni/results";

/// Removes every process, namespace, mount, control group and file of the cluster.
pub(super) fn down(plan: &Plan) -> anyhow::Result<()> {
    if !plan.state().exists() {
        eprintln!("there is no cluster {}", plan.name());
        return Ok(());
    }
    // The kubelets come first: they would start again what is stopped after them.
    for node in plan.nodes() {
        node.namespace.stop(&node::kubelet(&node));
    }
    for node in plan.nodes() {
        let kubelet = node::kubelet(&node);
        wait::until(plan, &format!("{kubelet} ends"), || !node.namespace.is_running(&kubelet))?;
        end_containers(plan, &node)?;
    }
    for name in control_plane::NAMES {
        plan.control_plane().stop(name);
    }
    // The link by itself goes some time after the namespace: too late for a new cluster.
    network::remove_link(plan)?;
    let pods = pods_on_the_machine(plan)?;
    for pod in &pods {
        pod.namespace.remove()?;
    }
    for node in plan.nodes() {
        node.namespace.remove()?;
    }
    plan.control_plane().remove()?;
    unmount(plan.state())?;
    for node in plan.nodes() {
        let name = node.namespace.name();
        wait::until(plan, &format!("the control groups of {name} are empty"), || {
            cgroups::remove(name).is_ok()
        })?;
    }
    // The files are the last record of pods: they go only when nothing else is left of them.
    for file in pods.iter().flat_map(|pod| &pod.files) {
        fs::remove_file(file).with_context(|| format!("can't remove {}", file.display()))?;
    }
    fs::remove_dir_all(plan.state()).with_context(|| format!("can't remove {}", plan.state().display()))
}

/// Kills all containers, and waits until containerd has tidied up behind them.
fn end_containers(plan: &Plan, node: &Node) -> anyhow::Result<()> {
    if !node.namespace.is_running(&node::containerd(node)) {
        return Ok(());
    }
    let tasks = || -> anyhow::Result<Vec<String>> {
        let list = output(node::ctr(node).args(["tasks", "list", "--quiet"]))?;
        Ok(list.split_whitespace().map(str::to_owned).collect())
    };
    for task in tasks()? {
        // This fails for a task that has just ended: it matters only that none is left.
        succeeds(node::ctr(node).args(["tasks", "kill", "--signal=KILL", &task]));
    }
    wait::until(plan, &format!("{} has no containers", node.name), || {
        tasks().is_ok_and(|left| left.is_empty())
    })
}

/// The machine's record of a pod's networks.
struct Pod {
    namespace: Namespace,
    files: Vec<PathBuf>,
}

fn pods_on_the_machine(plan: &Plan) -> anyhow::Result<Vec<Pod>> {
    // Without the folder no pod has ever been started.
    let Ok(entries) = fs::read_dir(CNI_RESULTS) else { return Ok(Vec::new()) };
    let all: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    let name = |file: &PathBuf| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let prefix = format!("{}-", node::pod_network_name(plan));
    let mut pods = Vec::new();
    for file in all.iter().filter(|file| name(file).starts_with(&prefix)) {
        let text = fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
        let record: Record = serde_json::from_slice(&text)
            .with_context(|| format!("{} isn't what a network plugin writes", file.display()))?;
        let sandbox = record.result.interfaces.iter().find_map(|interface| interface.sandbox.file_name());
        // The loopback's file has a name of its own, and the same container in it.
        let files = all.iter().filter(|file| name(file).contains(&record.container)).cloned().collect();
        let namespace = sandbox.unwrap_or_default().to_string_lossy();
        pods.push(Pod { namespace: Namespace::new(&namespace, &plan.processes()), files });
    }
    Ok(pods)
}

/// A file in [`CNI_RESULTS`].
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "containerId")]
    container: String,
    result: NetworkResult,
}

#[derive(Deserialize)]
struct NetworkResult {
    interfaces: Vec<Interface>,
}

#[derive(Deserialize)]
struct Interface {
    /// The pod's network namespace; none for the bridge.
    #[serde(default)]
    sandbox: PathBuf,
}

/// Unmounts everything that is mounted below a folder.
fn unmount(folder: &Path) -> anyhow::Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").context("can't read /proc/mounts")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let ours: HashSet<_> = points.filter(|point| Path::new(point).starts_with(folder)).collect();
    let mut ours: Vec<_> = ours.into_iter().collect();
    // Inner ones lie behind outer ones in this order.
    ours.sort_unstable_by(|a, b| b.cmp(a));
    for point in ours {
        run(Command::new("umount").args(["--lazy", point]))?;
    }
    Ok(())
}
