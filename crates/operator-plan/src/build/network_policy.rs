//! The rules by which processes may connect to ports.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::input::Input;
use crate::names::{MANAGER, labels, selector};

/// Lets our own pods and the operator use every port, and clients all but the peer port.
pub(super) fn network_policy(input: &Input) -> NetworkPolicy {
    let (names, ports) = (&input.resolved.names, &input.resolved.spec.ports);
    let ours =
        NetworkPolicyPeer { pod_selector: Some(selector(names.labels())), ..NetworkPolicyPeer::default() };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(selector(labels([(
            "kubernetes.io/metadata.name",
            input.operator_namespace.as_str(),
        )]))),
        pod_selector: Some(selector(labels([("app.kubernetes.io/name", MANAGER)]))),
        ..NetworkPolicyPeer::default()
    };
    let inner = NetworkPolicyIngressRule { from: Some(vec![ours, operator]), ports: None };
    let clients = NetworkPolicyIngressRule {
        from: input.resolved.spec.network_policy.clients.clone(),
        ports: Some([ports.client, ports.manager, ports.http].map(port).to_vec()),
    };
    // An empty list of clients means that no client may connect; in a rule it would mean that all may.
    let nobody = input.resolved.spec.network_policy.clients.as_ref().is_some_and(Vec::is_empty);
    NetworkPolicy {
        metadata: input.owned(names.resource.clone(), names.labels()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(names.labels())),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(if nobody { vec![inner] } else { vec![inner, clients] }),
            egress: None,
        }),
    }
}

fn port(number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number.into())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}
