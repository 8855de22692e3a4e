//! A node: containerd, kubelet, kube-proxy and what enforces policies, in a network namespace of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde_json::json;

use super::certificates::{self, Subject};
use super::plan::{Node, Plan};
use super::programs::{PAUSE_IMAGE, Programs};
use super::{cgroups, policies, proxy, wait};
use crate::command::{run, succeeds};
use crate::kube::nodes::ZONE;

/// The folder in which Debian keeps the programs that give pods their network.
const CNI_PROGRAMS: &str = "/usr/lib/cni";

/// Starts it.
pub(super) fn start(plan: &Plan, node: &Node, programs: &Programs) -> anyhow::Result<()> {
    let Node { name, namespace, address, .. } = node;
    certificates::make(
        plan,
        &Subject {
            file: name,
            user: &format!("system:node:{name}"),
            group: Some("system:nodes"),
            serves: Some(format!("DNS:{name},IP:{address}")),
        },
    )?;
    cgroups::make(namespace.name())?;
    write(&node.state.join("cni/10-pods.conflist"), &pod_network(plan, node))?;
    write(&node.state.join("containerd.toml"), &containerd_config(node))?;
    write(&node.state.join("resolv.conf"), &format!("nameserver {}\n", plan.dns_service()))?;
    write(&node.state.join("kubelet.yaml"), &kubelet_config(plan, node))?;

    let file = |file: &str| node.state.join(file).display().to_string();
    namespace.start(
        &containerd(node),
        Path::new("containerd"),
        ["--config".to_owned(), file("containerd.toml")],
    )?;
    wait::until(plan, &format!("containerd of {name} answers"), || succeeds(ctr(node).arg("version")))?;
    load(node, &programs.pause_image())?;
    let arguments = [
        "kubelet".to_owned(),
        format!("--config={}", file("kubelet.yaml")),
        format!("--kubeconfig={}", plan.kubeconfig(name).display()),
        format!("--hostname-override={name}"),
        format!("--node-ip={address}"),
        format!("--node-labels={ZONE}={}", node.zone),
        format!("--root-dir={}", node.kubelet_dir().display()),
        format!("--cert-dir={}", file("pki")),
    ];
    namespace.start(&kubelet(node), &programs.kube(), arguments)?;
    policies::start(plan, node, programs)?;
    proxy::start(plan, namespace, &proxy::Host { name, address: *address, state: &node.state }, programs)
}

/// Returns the name of its kubelet's process.
pub(super) fn kubelet(node: &Node) -> String {
    format!("{}-kubelet", node.name)
}

/// Returns the name of its containerd's process.
pub(super) fn containerd(node: &Node) -> String {
    format!("{}-containerd", node.name)
}

/// Waits until pods can run on it.
pub(super) fn await_ready(plan: &Plan, node: &Node, programs: &Programs) -> anyhow::Result<()> {
    let name = format!("node/{}", node.name);
    wait::until(plan, &format!("{name} is ready"), || {
        succeeds(programs.kubectl(plan).args(["wait", "--for=condition=Ready", &name, "--timeout=1s"]))
    })
}

/// Gives it the images of an archive.
pub(super) fn load(node: &Node, tar: &Path) -> anyhow::Result<()> {
    run(ctr(node).args(["images", "import"]).arg(tar))
}

/// Returns a command to the node's containerd, in the namespace of Kubernetes.
pub(super) fn ctr(node: &Node) -> Command {
    let mut ctr = Command::new("ctr");
    ctr.arg("--address").arg(node.containerd_socket()).args(["--namespace", "k8s.io"]);
    ctr
}

/// Returns the name of the pod network, which is unique on the machine: it distinguishes the files
/// that the machine keeps of its pods from those of other clusters.
pub(super) fn pod_network_name(plan: &Plan) -> String {
    format!("{}-pods", plan.name())
}

fn pod_network(plan: &Plan, node: &Node) -> String {
    let config = json!({
        "cniVersion": "0.4.0",
        "name": pod_network_name(plan),
        "plugins": [{
            "type": "bridge",
            "bridge": "pods0",
            "isGateway": true,
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": node.pods}]],
                "routes": [{"dst": plan.family().everywhere()}],
                "dataDir": node.state.join("addresses"),
            },
        }],
    });
    format!("{config:#}")
}

fn containerd_config(node: &Node) -> String {
    let state = node.state.display();
    format!(
        r#"version = 2
root = "{state}/images"
state = "{state}/containers"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Root in a container may lack the right to protect a process more than it is itself.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PROGRAMS}"
conf_dir = "{state}/cni"
"#,
        socket = node.containerd_socket().display(),
    )
}

fn kubelet_config(plan: &Plan, node: &Node) -> String {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": plan.certificates().join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "address": node.address,
        "healthzBindAddress": node.address,
        "tlsCertFile": plan.certificates().join(format!("{}.crt", node.name)),
        "tlsPrivateKeyFile": plan.certificates().join(format!("{}.key", node.name)),
        "cgroupDriver": "cgroupfs",
        // Without a root of its own each kubelet would remove the others' pods.
        "cgroupRoot": format!("/{}", node.namespace.name()),
        // And the logs of the others' pods.
        "podLogsDir": node.state.join("pod-logs"),
        "failCgroupV1": false,
        "failSwapOn": false,
        "containerRuntimeEndpoint": format!("unix://{}", node.containerd_socket().display()),
        "resolvConf": node.state.join("resolv.conf"),
        "clusterDomain": plan.domain(),
        "clusterDNS": [plan.dns_service()],
        "maxPods": 200,
        // The disk is the machine's: pods aren't driven out because others fill it.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi"},
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": false,
        "nodeStatusUpdateFrequency": "4s",
    });
    format!("{config:#}")
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
        fs::write(file, text)
    };
    write().with_context(|| format!("can't write {}", file.display()))
}
