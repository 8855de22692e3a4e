//! The control plane: etcd, API server, controllers, scheduler, volumes and DNS, all in one
//! namespace.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::certificates::{self, Subject};
use super::namespace::Namespace;
use super::plan::Plan;
use super::programs::Programs;
use super::{proxy, wait};
use crate::command::succeeds;

const ETCD: &str = "http://127.0.0.1:12379";
const ETCD_PEER: &str = "http://127.0.0.1:12380";
/// The size of etcd's file at which it refuses writes.
const ETCD_BYTES: u64 = 8 << 30;
const DNS_READY_PORT: u16 = 8181;
/// The time without news after which a node counts as unreachable, for which tests wait. Kubelets send news every four
/// seconds.
const NODE_GRACE: &str = "--node-monitor-grace-period=20s";
/// The name of our volumes' provisioner in the storage class.
const PROVISIONER: &str = "shardedkv.io/local";

/// The programs, in the order in which they are stopped.
pub(super) const NAMES: [&str; 7] =
    ["control-plane-proxy", "dns", "provisioner", "scheduler", "controllers", "apiserver", "etcd"];

/// Starts all of them; the API server answers when this returns.
pub(super) fn start(plan: &Plan, programs: &Programs) -> anyhow::Result<()> {
    start_api(plan, programs, &[])?;
    let namespace = plan.control_plane();
    start_controllers(plan, programs, &[NODE_GRACE.to_owned()])?;
    start_scheduler(plan, &namespace, programs)?;
    let address = plan.control_plane_address();
    let host = proxy::Host { name: "control-plane", address, state: plan.state() };
    proxy::start(plan, &namespace, &host, programs)?;
    start_dns(plan, programs)?;
    apply(plan, programs, &[dns_service(plan), dns_endpoints(plan), storage_class()])
}

/// Starts etcd and the API server, with more flags; it answers when this returns.
pub(super) fn start_api(plan: &Plan, programs: &Programs, flags: &[String]) -> anyhow::Result<()> {
    make_certificates(plan)?;
    let namespace = plan.control_plane();
    start_etcd(plan, &namespace, programs)?;
    start_api_server(plan, &namespace, programs, flags)?;
    wait::until(plan, "the API server is ready", || {
        succeeds(programs.kubectl(plan).args(["get", "--raw", "/readyz"]))
    })
}

/// Waits until DNS answers.
pub(super) fn await_dns(plan: &Plan) -> anyhow::Result<()> {
    wait::until(plan, "DNS is ready", || says_ready((plan.api_address(), DNS_READY_PORT)).unwrap_or(false))
}

/// Returns true if a server's HTTP page says that it is ready.
fn says_ready(address: impl ToSocketAddrs) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().is_some_and(|status| status.contains(" 200 ")))
}

fn make_certificates(plan: &Plan) -> anyhow::Result<()> {
    let serves = format!(
        "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:{},IP:{},IP:{}",
        plan.api_address(),
        plan.control_plane_address(),
        plan.api_service()
    );
    let user = |file, user| Subject { file, user, group: None, serves: None };
    for subject in [
        Subject { serves: Some(serves), ..user("apiserver", "kube-apiserver") },
        Subject { group: Some("system:masters"), ..user("admin", "admin") },
        user("controllers", "system:kube-controller-manager"),
        user("scheduler", "system:kube-scheduler"),
        user("proxy", "system:kube-proxy"),
    ] {
        certificates::make(plan, &subject)?;
    }
    Ok(())
}

fn start_etcd(plan: &Plan, namespace: &Namespace, programs: &Programs) -> anyhow::Result<()> {
    let arguments = [
        "etcd".to_owned(),
        format!("--data-dir={}", plan.file("etcd").display()),
        // The cluster doesn't outlive the machine: nothing needs to be durable.
        "--unsafe-no-fsync".to_owned(),
        // Thousands of pods that start at once may fill the usual 2 GiB before outdated versions are removed: then
        // etcd would refuse all writes.
        format!("--quota-backend-bytes={ETCD_BYTES}"),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        format!("--listen-peer-urls={ETCD_PEER}"),
        format!("--initial-advertise-peer-urls={ETCD_PEER}"),
        format!("--initial-cluster=default={ETCD_PEER}"),
    ];
    namespace.start("etcd", &programs.kube(), arguments)
}

fn start_api_server(
    plan: &Plan,
    namespace: &Namespace,
    programs: &Programs,
    flags: &[String],
) -> anyhow::Result<()> {
    let file = |name: &str| plan.certificates().join(name).display().to_string();
    let arguments = [
        "kube-apiserver".to_owned(),
        format!("--etcd-servers={ETCD}"),
        format!("--service-cluster-ip-range={}", plan.services()),
        "--secure-port=6443".to_owned(),
        format!("--bind-address={}", plan.family().any_address()),
        format!("--advertise-address={}", plan.control_plane_address()),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--service-account-key-file={}", file("accounts.key")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        format!("--kubelet-client-certificate={}", file("admin.crt")),
        format!("--kubelet-client-key={}", file("admin.key")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--allow-privileged=true".to_owned(),
        // OpenShift has it: owners that block their deletion are set only by those who may hold that up.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
    ];
    namespace.start("apiserver", &programs.kube(), arguments.iter().chain(flags))
}

/// Starts Kubernetes' own controllers, with more flags.
pub(super) fn start_controllers(plan: &Plan, programs: &Programs, flags: &[String]) -> anyhow::Result<()> {
    let file = |name: &str| plan.certificates().join(name).display().to_string();
    let arguments = [
        "kube-controller-manager".to_owned(),
        format!("--kubeconfig={}", plan.kubeconfig("controllers").display()),
        format!("--cluster-cidr={}", plan.pods()),
        "--allocate-node-cidrs=false".to_owned(),
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials".to_owned(),
        format!("--service-account-private-key-file={}", file("accounts.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
    ];
    plan.control_plane().start("controllers", &programs.kube(), arguments.iter().chain(flags))
}

/// Starts the scheduler, and the provisioner of its volumes.
fn start_scheduler(plan: &Plan, namespace: &Namespace, programs: &Programs) -> anyhow::Result<()> {
    let kubeconfig = |user| format!("--kubeconfig={}", plan.kubeconfig(user).display());
    let scheduler = ["kube-scheduler".to_owned(), kubeconfig("scheduler"), "--leader-elect=false".to_owned()];
    let provisioner = [
        "provisioner".to_owned(),
        kubeconfig("admin"),
        format!("--name={PROVISIONER}"),
        format!("--dir={}", plan.file("volumes").display()),
    ];
    namespace.start("scheduler", &programs.kube(), scheduler)?;
    namespace.start("provisioner", &programs.kube(), provisioner)
}

/// Starts DNS, at the control plane's address.
pub(super) fn start_dns(plan: &Plan, programs: &Programs) -> anyhow::Result<()> {
    let config = format!(
        ".:53 {{\n bind {}\n errors\n ready {}\n kubernetes {} in-addr.arpa ip6.arpa {{\n  \
         kubeconfig {}\n  ttl 1\n }}\n}}\n",
        plan.control_plane_address(),
        SocketAddr::new(plan.api_address(), DNS_READY_PORT),
        plan.domain(),
        plan.kubeconfig("admin").display()
    );
    let file = plan.file("Corefile");
    fs::write(&file, config).with_context(|| format!("can't write {}", file.display()))?;
    let namespace = plan.control_plane();
    namespace.start("dns", &programs.kube(), ["coredns".into(), "-conf".into(), file.display().to_string()])
}

fn dns_service(plan: &Plan) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"clusterIP": plan.dns_service(), "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ]},
    })
}

/// Returns the endpoints of DNS, which isn't a pod: its Service has no selector, and this leads to it.
fn dns_endpoints(plan: &Plan) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns", "namespace": "kube-system",
                     "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": plan.family().name(),
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ],
        "endpoints": [{"addresses": [plan.control_plane_address()], "conditions": {"ready": true}}],
    })
}

fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        // Volumes are folders and have no size; but a test can see that a claim asks for more.
        "allowVolumeExpansion": true,
    })
}

/// Applies objects of any kinds.
pub(super) fn apply(plan: &Plan, programs: &Programs, objects: &[Value]) -> anyhow::Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let mut kubectl = programs
        .kubectl(plan)
        .args(["apply", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("can't run kubectl")?;
    if let Some(mut stdin) = kubectl.stdin.take() {
        stdin.write_all(list.to_string().as_bytes())?;
    }
    ensure!(kubectl.wait()?.success(), "the API server doesn't take these objects");
    Ok(())
}
