//! The objects of a store as the API server has them.

use anyhow::Context as _;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

/// The objects of a kind that are the store's.
#[derive(Clone, Copy)]
enum Belongs {
    /// The object has the store's name.
    ByName,
    /// The object carries the store's label.
    ByLabel,
    /// It is about an object whose name begins with the store's.
    About,
}

/// The kinds: group, version, kind.
const KINDS: [(&str, &str, &str, Belongs); 8] = [
    ("shardedkv.io", "v1alpha1", "ShardedKV", Belongs::ByName),
    ("apps", "v1", "StatefulSet", Belongs::ByLabel),
    ("apps", "v1", "Deployment", Belongs::ByLabel),
    ("", "v1", "Pod", Belongs::ByLabel),
    ("", "v1", "PersistentVolumeClaim", Belongs::ByLabel),
    ("", "v1", "Service", Belongs::ByLabel),
    ("policy", "v1", "PodDisruptionBudget", Belongs::ByLabel),
    ("", "v1", "Event", Belongs::About),
];

/// Returns lists of the objects, by their kinds.
pub(super) async fn of_store(
    client: &Client,
    namespace: &str,
    store: &str,
) -> Vec<(&'static str, anyhow::Result<Value>)> {
    let mut lists = Vec::new();
    for (group, version, kind, belongs) in KINDS {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        lists.push((kind, list(&api, store, belongs).await.with_context(|| format!("can't list {kind}"))));
    }
    lists
}

async fn list(api: &Api<DynamicObject>, store: &str, belongs: Belongs) -> anyhow::Result<Value> {
    let parameters = match belongs {
        Belongs::ByName => ListParams::default().fields(&format!("metadata.name={store}")),
        Belongs::ByLabel => ListParams::default().labels(&format!("app.kubernetes.io/instance={store}")),
        Belongs::About => ListParams::default(),
    };
    let mut objects = serde_json::to_value(api.list(&parameters).await?.items)?;
    if let (Belongs::About, Value::Array(events)) = (belongs, &mut objects) {
        events.retain(|event| is_about(event, store));
    }
    Ok(objects)
}

/// Returns true for an event about the store or one of its objects.
fn is_about(event: &Value, store: &str) -> bool {
    let name = event["involvedObject"]["name"].as_str().unwrap_or_default();
    let name = name.strip_prefix("data-").unwrap_or(name);
    name.strip_prefix(store).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_of_other_stores_are_left_out() {
        let is_about = |name: &str| is_about(&json!({ "involvedObject": { "name": name } }), "kv");
        assert!(["kv", "kv-g0-0", "kv-manager", "data-kv-g0-1"].into_iter().all(is_about));
        assert!(!["kvs", "other-kv", "data-other-g0-1", ""].into_iter().any(is_about));
    }
}
