//! Network policies: one process for each node drops what its pods may not get (`xtask/kube/policies.go`).

use super::Family;
use super::plan::{Node, Plan};
use super::programs::Programs;

/// The chain of the rules, as `xtask/kube/policies/rules.go` names it.
const CHAIN: &str = "POLICIES";

/// Starts it. Its chain is in table `mangle`, which is asked before `filter`: kube-proxy lets packets
/// through there, and puts itself first.
pub(super) fn start(plan: &Plan, node: &Node, programs: &Programs) -> anyhow::Result<()> {
    let Node { name, namespace, .. } = node;
    let tables = match plan.family() {
        Family::Ipv4 => "iptables",
        Family::Ipv6 => "ip6tables",
    };
    // Packets between two pods of the node cross only its bridge: those that a policy forbids, and those of a Service,
    // which must be changed.
    namespace.run(&format!("sysctl -qw net.bridge.bridge-nf-call-{tables}=1"))?;
    namespace.run(&format!("{tables} -w -t mangle -N {CHAIN}"))?;
    namespace.run(&format!("{tables} -w -t mangle -A FORWARD -j {CHAIN}"))?;
    let arguments = [
        "policies".to_owned(),
        format!("--kubeconfig={}", plan.kubeconfig("admin").display()),
        format!("--node={name}"),
        format!("--family={}", plan.family().name()),
    ];
    namespace.start(&format!("{name}-policies"), &programs.kube(), arguments)
}
