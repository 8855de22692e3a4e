//! The objects that the API server stores: by kind and path, each with the version of its last change.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use kube::api::DynamicObject;
use serde_json::{Value, json};
use skv_operator_plan::names::DATA;

/// The namespace of everything here.
pub(super) const NAMESPACE: &str = "prod";
/// The name of the resource.
pub(super) const NAME: &str = "demo";

/// The objects of one kind, by name.
pub(super) type Kind = BTreeMap<Arc<str>, Arc<Stored>>;

/// The objects of a kind of which there are none.
static NONE: Kind = BTreeMap::new();

/// A version of an object. Its text and its typed form are worked out once.
pub(super) struct Stored {
    object: Value,
    text: OnceLock<String>,
    watched: OnceLock<Option<DynamicObject>>,
}

impl Stored {
    /// Returns the object as the API server sends it.
    pub(super) fn text(&self) -> &str {
        self.text.get_or_init(|| self.object.to_string())
    }

    /// Returns the object as a watch sees it: the items of a list lack kind and version.
    pub(super) fn watched(&self) -> Option<&DynamicObject> {
        let convert = || {
            let mut data = self.object.clone();
            let fields = data.as_object_mut()?;
            fields.retain(|field, _| !["apiVersion", "kind"].contains(&field.as_str()));
            let metadata = serde_json::from_value(fields.remove("metadata")?).ok()?;
            Some(DynamicObject { types: None, metadata, data })
        };
        self.watched.get_or_init(convert).as_ref()
    }
}

impl Deref for Stored {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.object
    }
}

/// All objects. A kind is named as in paths: `pods`.
#[derive(Default)]
pub(super) struct Objects {
    kinds: BTreeMap<String, Kind>,
    version: u64,
}

impl Objects {
    /// Returns all objects of a kind.
    pub(super) fn kind(&self, kind: &str) -> &Kind {
        self.kinds.get(kind).unwrap_or(&NONE)
    }

    /// Returns the names of all objects of a kind.
    pub(super) fn names(&self, kind: &str) -> Vec<Arc<str>> {
        self.kind(kind).keys().cloned().collect()
    }

    pub(super) fn get(&self, kind: &str, name: &str) -> Option<&Arc<Stored>> {
        self.kinds.get(kind)?.get(name)
    }

    pub(super) fn remove(&mut self, kind: &str, name: &str) -> Option<Arc<Stored>> {
        let removed = self.kinds.get_mut(kind)?.remove(name)?;
        self.version += 1;
        Some(removed)
    }

    /// Returns the number of changes so far.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Stores an object. Without a change it gets no new version; another specification is another generation.
    pub(super) fn store(&mut self, kind: &str, name: &str, mut object: Value) -> Arc<Stored> {
        let before = self.get(kind, name).cloned();
        if let Some(before) = &before
            && before.object == object
        {
            return Arc::clone(before);
        }
        self.version += 1;
        let generation = match &before {
            Some(before) if before["spec"] == object["spec"] => before["metadata"]["generation"].clone(),
            Some(before) => json!(before["metadata"]["generation"].as_i64().unwrap_or(0) + 1),
            None => json!(1),
        };
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        metadata["generation"] = generation;
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.version));
        }
        let stored = Arc::new(Stored { object, text: OnceLock::new(), watched: OnceLock::new() });
        self.kinds.entry(kind.to_owned()).or_default().insert(name.into(), Arc::clone(&stored));
        stored
    }

    /// Changes an object, if it is there.
    pub(super) fn change(&mut self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        if let Some(object) = self.get(kind, name) {
            let mut object = object.object.clone();
            change(&mut object);
            self.store(kind, name, object);
        }
    }
}

/// Returns true if an object is being deleted.
pub(super) fn is_leaving(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Returns true if a condition of an object is true.
pub(super) fn is_true(object: &Value, condition: &str) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|of| of["type"] == condition && of["status"] == "True")
}

/// Returns the StatefulSet and the ordinal of a server.
pub(super) fn place(server: &str) -> Option<(&str, u32)> {
    let (set, ordinal) = server.rsplit_once('-')?;
    let is_of_servers = set == NAME || group_of(set).is_some();
    Some((set, ordinal.parse().ok()?)).filter(|_| is_of_servers)
}

/// Returns the name of a group's own StatefulSet, and of its disruption budget. Those of a ring have the name of the
/// resource.
pub(super) fn set_of(group: u32) -> String {
    format!("{NAME}-g{group}")
}

/// Returns the group whose own StatefulSet it is.
pub(super) fn group_of(set: &str) -> Option<u32> {
    set.strip_prefix(NAME)?.strip_prefix("-g")?.parse().ok()
}

/// Returns the name of a server's claim.
pub(super) fn claim_of(server: &str) -> String {
    format!("{DATA}-{server}")
}

/// Returns the name of a claim's server.
pub(super) fn server_of(claim: &str) -> &str {
    claim.strip_prefix(DATA).and_then(|rest| rest.strip_prefix('-')).unwrap_or(claim)
}

/// Returns the name of a server.
pub(super) fn server(set: &str, ordinal: u32) -> String {
    format!("{set}-{ordinal}")
}
