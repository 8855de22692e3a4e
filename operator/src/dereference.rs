//! Gathers the known facts about one resource, without asking the API server: from the cache, and from its
//! shard manager.

use k8s_openapi::jiff::Timestamp;
use skv_operator_plan::names::Names;
use skv_operator_plan::observed::{Objects, Observed, ObservedMap, observe};
use skv_resource::ShardedKvSpec;

use crate::cache::Cache;
use crate::servers::Servers;

/// Returns the cached state of a resource, with its shard manager's answer.
pub(crate) async fn dereference(
    cache: &Cache,
    servers: &dyn Servers,
    names: &Names,
    spec: &ShardedKvSpec,
    manager_address: &str,
    now: Timestamp,
) -> Observed {
    let objects = Objects {
        sets: cache.of(names),
        deployments: cache.of(names),
        pods: cache.of(names),
        claims: cache.of(names),
    };
    let seen = observe(&objects, now);
    if seen.ready_managers == 0 {
        return seen;
    }
    let state = servers.manager_state(manager_address).await;
    seen.with_map(spec, state.map(|state| ObservedMap::of(&state.map, &state.configuration)))
}
