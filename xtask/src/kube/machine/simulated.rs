//! A control plane whose nodes and pods are objects and nothing else: kwok reports them as ready. It shows the cost of
//! many objects to those who watch and write them; no program runs in a pod, and nothing answers at its address.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::plan::Plan;
use super::programs::Programs;
use super::{certificates, control_plane, network};

/// The number of nodes.
const NODES: u32 = 30;
/// The addresses of pods, as in [`KWOK`].
const PODS: &str = "10.0.0.0/8";
/// The configuration of kwok.
const KWOK: &str = include_str!("../../../kube/kwok.yaml");

/// The time without news after which a node counts as unreachable: longer than the machine is too busy to pass news on.
/// Pods of such a node are marked as not ready, and kwok, unlike a kubelet, never reports them as ready again.
const NODE_GRACE: &str = "--node-monitor-grace-period=30m";

/// The requests per second that Kubernetes' own programs may send: with their usual limits a thousand resources take
/// hours to get their pods.
const REQUESTS: u32 = 1000;

/// Starts all of it. The API server notes each write of this user.
pub(super) fn start(plan: &Plan, programs: &Programs, kwok: &Path, user: &str) -> anyhow::Result<()> {
    programs.remember(plan)?;
    certificates::make_authority(plan)?;
    network::make_alone(plan, PODS)?;
    control_plane::start_api(plan, programs, &auditing(plan, user)?)?;
    control_plane::start_dns(plan, programs)?;
    write(&plan.file("resolv.conf"), &resolv_conf(plan))?;
    control_plane::start_controllers(plan, programs, &controllers_flags())?;
    let namespace = plan.control_plane();
    let scheduler = plan.file("scheduler.json");
    write(&scheduler, &scheduler_config(plan).to_string())?;
    let arguments = ["kube-scheduler".to_owned(), format!("--config={}", scheduler.display())];
    namespace.start("scheduler", &programs.kube(), arguments)?;
    let config = plan.file("kwok.yaml");
    write(&config, KWOK)?;
    let kubeconfig = format!("--kubeconfig={}", plan.kubeconfig("admin").display());
    namespace.start("kwok", kwok, [kubeconfig, format!("--config={}", config.display())])?;
    let nodes = (1..=NODES).map(node);
    control_plane::apply(plan, programs, &nodes.chain([storage_class()]).collect::<Vec<_>>())?;
    control_plane::await_dns(plan)
}

/// Returns the file in which writes are noted.
pub(super) fn audit_log(plan: &Plan) -> PathBuf {
    plan.file("audit.log")
}

/// Returns a command that runs beside the control plane, and asks its DNS.
pub(super) fn beside(plan: &Plan, program: &Path) -> Command {
    // A mount of its own ends with the program, and is seen by no other. Each of these turns into the next, so that
    // the number of the process is the program's.
    let asking_its_dns = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let mut command = plan.control_plane().command("unshare");
    command.args(["--mount", "--", "sh", "-c", asking_its_dns]).arg(plan.file("resolv.conf")).arg(program);
    command
}

fn resolv_conf(plan: &Plan) -> String {
    format!("nameserver {}\noptions timeout:1 attempts:1\n", plan.control_plane_address())
}

/// Writes the policy of the audit; returns the flags with which the API server follows it.
fn auditing(plan: &Plan, user: &str) -> anyhow::Result<[String; 3]> {
    let file = plan.file("audit.json");
    write(&file, &audit_policy(user).to_string())?;
    Ok([
        format!("--audit-policy-file={}", file.display()),
        format!("--audit-log-path={}", audit_log(plan).display()),
        // In MiB: it isn't cut while it is read.
        "--audit-log-maxsize=100000".to_owned(),
    ])
}

fn audit_policy(user: &str) -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "users": [user],
             "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
            {"level": "None"},
        ],
    })
}

/// Returns the flags with which controllers do more at a time, and wait longer for nodes.
fn controllers_flags() -> Vec<String> {
    let (qps, burst) = (format!("--kube-api-qps={REQUESTS}"), format!("--kube-api-burst={}", 2 * REQUESTS));
    let mut flags = vec![NODE_GRACE.to_owned(), qps, burst];
    let busy = ["statefulset", "deployment", "replicaset", "endpoint", "service-endpoint"];
    flags.extend(busy.map(|kind| format!("--concurrent-{kind}-syncs=16")));
    flags
}

fn scheduler_config(plan: &Plan) -> Value {
    json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": plan.kubeconfig("scheduler"), "qps": REQUESTS, "burst": 2 * REQUESTS},
        "leaderElection": {"leaderElect": false},
    })
}

fn node(number: u32) -> Value {
    let name = format!("simulated-{number}");
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
    })
}

/// Volumes are made beforehand, each for its claim: so nobody has to search for one that fits.
fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    })
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_get_addresses_that_the_control_plane_takes_for_its_own() {
        assert!(KWOK.contains(&format!("\n  cidr: {PODS}\n")), "{KWOK}");
    }
}
