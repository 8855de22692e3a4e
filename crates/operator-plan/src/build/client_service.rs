//! The Service under which clients find any server.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::input::Input;
use super::pod::service_port;

/// Leads to all ready servers of all groups; each forwards what isn't its own.
pub(super) fn client_service(input: &Input) -> Service {
    let names = &input.resolved.names;
    Service {
        metadata: input.owned(names.resource.clone(), names.server_labels()),
        spec: Some(ServiceSpec {
            selector: Some(names.server_labels()),
            ports: Some(vec![service_port("client", input.resolved.spec.ports.client)]),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
