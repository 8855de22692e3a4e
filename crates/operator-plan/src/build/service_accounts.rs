//! The accounts by which the API server knows the pods.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::input::Input;
use crate::names::Component;

/// Builds the account of the servers, which never talk to the API server.
pub(super) fn servers(input: &Input) -> ServiceAccount {
    ServiceAccount {
        metadata: input.owned(input.resolved.names.servers(), input.resolved.names.server_labels()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// Builds the account of the shard manager, which keeps its record in the API server; its pods mount the
/// token by themselves.
pub(super) fn shard_manager(input: &Input) -> ServiceAccount {
    let labels = input.resolved.names.pod_labels(Component::ShardManager);
    ServiceAccount {
        metadata: input.owned(input.resolved.names.shard_manager(), labels),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
