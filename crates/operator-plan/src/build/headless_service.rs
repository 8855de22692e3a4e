//! The Service whose SRV records name the servers of one group, or of the ring, and their ports.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::input::Input;
use super::pod::{DUAL_STACK, service_port};
use crate::names::{CLIENT_PORT, Component, HTTP_PORT, PEER_PORT, ServerSet};

/// Publishes servers that aren't ready too: they become ready by finding each other.
pub(super) fn headless_service(input: &Input, set: ServerSet) -> Service {
    let (names, ports) = (&input.resolved.names, &input.resolved.spec.ports);
    let labels = names.pod_labels(Component::Servers(set));
    Service {
        metadata: input.owned(names.headless_service(set), labels.clone()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ip_family_policy: Some(DUAL_STACK.to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(labels),
            ports: Some(vec![
                service_port(CLIENT_PORT, ports.client),
                service_port(PEER_PORT, ports.peer),
                service_port(HTTP_PORT, ports.http),
            ]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
