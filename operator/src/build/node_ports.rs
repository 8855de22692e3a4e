//! The Services by which clients outside of the cluster reach the store: a port of every node
//! for the shard manager, and one for each group.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use skv_resource::NodePorts;
use skv_sharding::GroupId;

use super::Input;
use super::pod::service_port;
use crate::names::Component;

/// Leads to the shard managers that are ready.
pub(super) fn of_shard_manager(input: &Input) -> Option<Service> {
    let NodePorts { first } = input.spec.node_ports?;
    let port = service_port("manager", input.spec.ports.manager);
    Some(service(input, Component::ShardManager, first, port))
}

/// Leads to the ready servers of one group; its port alone says which group that is.
pub(super) fn of_group(input: &Input, group: GroupId) -> Option<Service> {
    let number = input.spec.node_ports?.of_group(group)?;
    let port = service_port("client", input.spec.ports.client);
    Some(service(input, Component::Group(group), number, port))
}

fn service(input: &Input, component: Component, number: u16, port: ServicePort) -> Service {
    let labels = input.names.pod_labels(component);
    Service {
        metadata: input.owned(input.names.node_ports(component), labels.clone()),
        spec: Some(ServiceSpec {
            type_: Some("NodePort".to_owned()),
            selector: Some(labels),
            ports: Some(vec![ServicePort { node_port: Some(number.into()), ..port }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
