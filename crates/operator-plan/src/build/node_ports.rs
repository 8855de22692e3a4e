//! The Services by which clients outside of the cluster reach the store: a port of every node
//! for the shard manager, and one for each group.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use skv_resource::NodePorts;
use skv_sharding::GroupId;

use super::input::Input;
use super::pod::{DUAL_STACK, service_port};
use crate::names::{CLIENT_PORT, Component, MANAGER_PORT, ServerSet};

/// Builds the Service that leads to the shard managers that are ready.
pub(super) fn of_shard_manager(input: &Input) -> Option<Service> {
    let NodePorts { first } = input.resolved.spec.node_ports?;
    let port = service_port(MANAGER_PORT, input.resolved.spec.ports.manager);
    Some(service(input, input.resolved.names.node_port_of_manager(), Component::ShardManager, first, port))
}

/// Builds the Services that lead to the ready servers of each of their groups, which is identified by its
/// port alone. In a ring each leads to all servers: any of them passes requests on.
pub(super) fn of_groups(input: &Input, set: ServerSet) -> Vec<Service> {
    let groups = match set {
        ServerSet::Group(group) => group.0..group.0 + 1,
        ServerSet::Ring => 0..input.resolved.spec.groups,
    };
    let of_group = |group| {
        let number = input.resolved.spec.node_ports?.of_group(group)?;
        let port = service_port(CLIENT_PORT, input.resolved.spec.ports.client);
        Some(service(input, input.resolved.names.node_port_of(group), Component::Servers(set), number, port))
    };
    groups.map(GroupId).filter_map(of_group).collect()
}

fn service(input: &Input, name: String, leads_to: Component, number: u16, port: ServicePort) -> Service {
    let labels = input.resolved.names.pod_labels(leads_to);
    Service {
        metadata: input.owned(name, labels.clone()),
        spec: Some(ServiceSpec {
            type_: Some("NodePort".to_owned()),
            ip_family_policy: Some(DUAL_STACK.to_owned()),
            selector: Some(labels),
            ports: Some(vec![ServicePort { node_port: Some(number.into()), ..port }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
