//! The rights of the shard manager: read and write its own shard map, nothing else.

use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::Resource as _;
use skv_resource::{PodTemplate, ShardMap};

use super::input::Input;
use crate::names::Component;

/// Builds the right to the one object, which includes listing and watching it by its name. The holder
/// can't create the object by it: the operator does that.
pub(super) fn role(input: &Input) -> Role {
    let names = &input.resolved.names;
    Role {
        metadata: input.owned(names.shard_manager(), names.pod_labels(Component::ShardManager)),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec![ShardMap::group(&()).into_owned()]),
            resources: Some(vec![ShardMap::plural(&()).into_owned()]),
            resource_names: Some(vec![names.resource.clone()]),
            verbs: ["get", "list", "watch", "update"].map(str::to_owned).to_vec(),
            ..PolicyRule::default()
        }]),
    }
}

/// Binds the role to the account of the shard manager's pods.
pub(super) fn role_binding(input: &Input) -> Result<RoleBinding, serde_json::Error> {
    let (names, template) = (&input.resolved.names, &input.resolved.spec.pod_template);
    let chosen = template.as_ref().map(PodTemplate::pod_spec).transpose()?;
    let account = chosen.and_then(|pod| pod.service_account_name).unwrap_or_else(|| names.shard_manager());
    Ok(RoleBinding {
        metadata: input.owned(names.shard_manager(), names.pod_labels(Component::ShardManager)),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: names.shard_manager(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account,
            namespace: Some(names.namespace.clone()),
            ..Subject::default()
        }]),
    })
}
