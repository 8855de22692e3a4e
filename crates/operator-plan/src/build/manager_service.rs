//! The Service of the shard manager.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::input::Input;
use super::pod::service_port;
use crate::names::{Component, HTTP_PORT, MANAGER_PORT};

/// Leads to every pod of the shard manager. Each of them serves, but knows only the registrations that it
/// took itself, and a group is founded by one that has heard all replicas: so servers register with every
/// pod, which they find as the addresses of a headless Service. Each has one there, of the family that the
/// cluster prefers: a pod with two would be taken for two shard managers.
pub(super) fn manager_service(input: &Input) -> Service {
    let (names, ports) = (&input.resolved.names, &input.resolved.spec.ports);
    let labels = names.pod_labels(Component::ShardManager);
    Service {
        metadata: input.owned(names.shard_manager(), labels.clone()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(labels),
            ports: Some(vec![service_port(MANAGER_PORT, ports.manager), service_port(HTTP_PORT, ports.http)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
