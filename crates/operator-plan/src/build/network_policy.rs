//! The rules by which processes may connect to ports.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::input::Input;
use crate::names::{CLIENT_PORT, HTTP_PORT, MANAGER, MANAGER_PORT, PEER_PORT, labels, selector};

/// Lets our servers, the operator and clients use the ports that each needs. The rules name the ports, so
/// that they hold for every pod as it is, also while the numbers change and pods are replaced one by one.
/// A shard manager connects to the API server alone. So the holder of its token reaches no server by it.
/// Whoever reaches a shard manager may also move shards, and any server does for a client. So clients reach
/// shard managers only where these have a port of every node, which is there for nobody else.
pub(super) fn network_policy(input: &Input) -> NetworkPolicy {
    let (names, chosen) = (&input.resolved.names, &input.resolved.spec.network_policy);
    let servers = NetworkPolicyPeer {
        pod_selector: Some(selector(names.server_labels())),
        ..NetworkPolicyPeer::default()
    };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(selector(labels([(
            "kubernetes.io/metadata.name",
            input.operator_namespace.as_str(),
        )]))),
        pod_selector: Some(selector(labels([("app.kubernetes.io/name", MANAGER)]))),
        ..NetworkPolicyPeer::default()
    };
    let mut rules = vec![
        rule(Some(vec![servers]), &[CLIENT_PORT, PEER_PORT, MANAGER_PORT]),
        rule(Some(vec![operator]), &[PEER_PORT, MANAGER_PORT]),
    ];
    // An empty list of clients means that no client may connect; in a rule it would mean that all may.
    if chosen.clients.as_ref().is_none_or(|clients| !clients.is_empty()) {
        let ports: &[&str] = if input.resolved.spec.node_ports.is_some() {
            &[CLIENT_PORT, MANAGER_PORT, HTTP_PORT]
        } else {
            &[CLIENT_PORT, HTTP_PORT]
        };
        rules.push(rule(chosen.clients.clone(), ports));
    }
    rules.extend(chosen.ingress.iter().cloned());
    NetworkPolicy {
        metadata: input.owned(names.resource.clone(), names.labels()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(names.labels())),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(rules),
            egress: None,
        }),
    }
}

fn rule(from: Option<Vec<NetworkPolicyPeer>>, ports: &[&str]) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from, ports: Some(ports.iter().map(|name| port(name)).collect()) }
}

fn port(name: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}
