//! Gathers the known facts about one resource, without asking the API server: from the cache, and from its
//! shard manager.

use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::DynamicObject;
use serde::Deserialize;
use serde::de::DeserializeOwned;
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
        sets: all(cache, names),
        deployments: all(cache, names),
        pods: all(cache, names),
        claims: all(cache, names),
    };
    let seen = observe(&objects, now);
    if seen.ready_managers == 0 {
        return seen;
    }
    let state = servers.manager_state(manager_address).await;
    seen.with_map(spec, state.map(|state| ObservedMap::of(&state.map, &state.configuration)))
}

fn all<K: Resource<DynamicType = ()> + DeserializeOwned>(cache: &Cache, names: &Names) -> Vec<K> {
    cache.of::<K>(names).iter().filter_map(|object| parsed(object).ok()).collect()
}

/// Returns an object by its type. Nothing is copied that the type doesn't have.
fn parsed<K: Resource + DeserializeOwned>(object: &DynamicObject) -> Result<K, serde_json::Error> {
    let mut parsed: K = Deserialize::deserialize(&object.data)?;
    *parsed.meta_mut() = object.metadata.clone();
    Ok(parsed)
}
