//! The object in which the shard manager keeps its record.

use skv_resource::{Retention, ShardMap, ShardMapFields};

use super::input::Input;
use crate::names::Component;

/// Builds only its metadata: the record is the shard manager's. The object lives exactly as long as the
/// servers' volumes, since groups that exist are never founded again.
pub(super) fn shard_map(input: &Input) -> ShardMap {
    let (name, storage) = (input.resolved.names.resource.clone(), &input.resolved.spec.storage);
    let labels = input.resolved.names.pod_labels(Component::ShardManager);
    let volumes_are_kept = !storage.memory_only && storage.when_deleted == Retention::Retain;
    let metadata = if volumes_are_kept { input.kept(name, labels) } else { input.owned(name, labels) };
    ShardMap { metadata, spec: ShardMapFields::default() }
}
