//! kube-proxy: makes the addresses of Services lead to pods, in one namespace.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use super::namespace::Namespace;
use super::plan::Plan;
use super::programs::Programs;

/// A node, or the control plane, whose packets it changes.
pub(super) struct Host<'a> {
    pub(super) name: &'a str,
    pub(super) address: IpAddr,
    /// The folder of its files.
    pub(super) state: &'a Path,
}

/// Starts it.
pub(super) fn start(
    plan: &Plan,
    namespace: &Namespace,
    host: &Host<'_>,
    programs: &Programs,
) -> anyhow::Result<()> {
    let Host { name, address, state } = host;
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": plan.kubeconfig("proxy")},
        "mode": "iptables",
        "clusterCIDR": plan.pods(),
        "hostnameOverride": name,
        // The family of its rules follows from this: the control plane is no node that it could ask about.
        "bindAddress": address,
        // These are settings of the whole machine, which are left as they are.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "0s"},
    });
    let file = state.join("proxy.yaml");
    std::fs::write(&file, format!("{config:#}"))
        .with_context(|| format!("can't write {}", file.display()))?;
    let name = format!("{name}-proxy");
    namespace.start(&name, &programs.kube(), ["kube-proxy".into(), format!("--config={}", file.display())])
}
