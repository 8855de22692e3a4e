//! The Service of the shard manager.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::Input;
use super::pod::service_port;
use crate::names::Component;

/// Any of the shard manager's pods serves.
pub(super) fn manager_service(input: &Input) -> Service {
    let (names, ports) = (&input.names, &input.spec.ports);
    let labels = names.pod_labels(Component::ShardManager);
    Service {
        metadata: input.owned(names.shard_manager(), labels.clone()),
        spec: Some(ServiceSpec {
            selector: Some(labels),
            ports: Some(vec![service_port("manager", ports.manager), service_port("http", ports.http)]),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
