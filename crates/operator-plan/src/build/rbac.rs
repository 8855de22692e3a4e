//! The rights of the shard manager: read and write its own shard map, nothing else.

use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::Resource as _;
use skv_resource::ShardMap;

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

/// Binds the role to the shard manager's account.
pub(super) fn role_binding(input: &Input) -> RoleBinding {
    let names = &input.resolved.names;
    RoleBinding {
        metadata: input.owned(names.shard_manager(), names.pod_labels(Component::ShardManager)),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: names.shard_manager(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: names.shard_manager(),
            namespace: Some(names.namespace.clone()),
            ..Subject::default()
        }]),
    }
}
