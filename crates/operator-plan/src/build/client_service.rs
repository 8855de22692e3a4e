//! The Service under which clients find any server.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use skv_resource::IpFamilyPolicy;

use super::input::Input;
use super::pod::{DUAL_STACK, service_port};
use crate::names::CLIENT_PORT;

/// Leads to all ready servers of all groups; each forwards what isn't its own.
pub(super) fn client_service(input: &Input) -> Service {
    let (names, chosen) = (&input.resolved.names, &input.resolved.spec.service);
    let (annotations, sources) = (&chosen.annotations, &chosen.load_balancer_source_ranges);
    let families: Vec<String> = chosen.ip_families.iter().map(|family| family.name().to_owned()).collect();
    Service {
        metadata: ObjectMeta {
            annotations: (!annotations.is_empty()).then(|| annotations.clone()),
            ..input.owned(names.resource.clone(), names.server_labels())
        },
        spec: Some(ServiceSpec {
            selector: Some(names.server_labels()),
            ports: Some(vec![service_port(CLIENT_PORT, input.resolved.spec.ports.client)]),
            type_: Some(chosen.type_.name().to_owned()),
            load_balancer_source_ranges: (!sources.is_empty()).then(|| sources.clone()),
            traffic_distribution: chosen.traffic_distribution.map(|first| first.name().to_owned()),
            ip_family_policy: Some(
                chosen.ip_family_policy.map_or(DUAL_STACK, IpFamilyPolicy::name).to_owned(),
            ),
            ip_families: (!families.is_empty()).then_some(families),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
