//! kube-proxy: makes the addresses of Services lead to pods, in one namespace.

use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use super::namespace::Namespace;
use super::plan::Plan;
use super::programs::Programs;

/// Starts it; `host` is the node's name for itself.
pub(super) fn start(
    plan: &Plan,
    namespace: &Namespace,
    host: &str,
    state: &Path,
    programs: &Programs,
) -> anyhow::Result<()> {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": plan.kubeconfig("proxy")},
        "mode": "iptables",
        "clusterCIDR": plan.pods(),
        "hostnameOverride": host,
        // These are settings of the whole machine, which are left as they are.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "0s"},
    });
    let file = state.join("proxy.yaml");
    std::fs::write(&file, format!("{config:#}"))
        .with_context(|| format!("can't write {}", file.display()))?;
    let name = format!("{host}-proxy");
    namespace.start(&name, &programs.kube(), ["kube-proxy".into(), format!("--config={}", file.display())])
}
