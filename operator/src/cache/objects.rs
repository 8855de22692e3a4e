//! The seen objects of one kind, packed: a thousand resources have some forty thousand objects, and as a tree of
//! values an object takes about ten times the memory of its text. They are found by their names, and by the resource
//! that they belong to: a pass over one resource mustn't look at the objects of all the others. A text is read as the
//! type that is asked for: a tree of values in between would take several times as long as all the rest.

use std::collections::{BTreeSet, HashMap};
use std::mem::take;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use parking_lot::RwLock;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use skv_operator_plan::names::{INSTANCE_LABEL, Names};
use tokio::sync::watch;

use super::fingerprint::fingerprint;

/// The objects of one kind, as a watch has seen them; clones share them.
#[derive(Clone, Default)]
pub(super) struct Objects(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: RwLock<State>,
    /// True once all objects were listed.
    is_listed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    seen: Known,
    /// The objects in a list that hasn't ended; then it takes the place of all that was seen.
    listed: Known,
}

/// Objects by their names, and their names by the resource that they belong to.
#[derive(Default)]
struct Known {
    objects: HashMap<Key, Packed>,
    of_resources: HashMap<Key, BTreeSet<String>>,
}

/// A namespace, and the name of an object or of a resource in it.
type Key = (String, String);

/// An object without the memory that a tree of values takes.
struct Packed {
    /// The resource that it belongs to.
    resource: Option<String>,
    fingerprint: u64,
    /// The object as JSON.
    text: Arc<[u8]>,
}

/// An object without its content.
pub(crate) struct Outline {
    pub(crate) metadata: ObjectMeta,
    pub(crate) fingerprint: u64,
}

impl Objects {
    /// Notes an event of the watch.
    pub(super) fn note(&self, event: &Event<DynamicObject>) {
        match event {
            Event::Init => self.0.state.write().listed = Known::default(),
            Event::InitApply(object) => {
                let packed = Packed::of(object);
                self.0.state.write().listed.put(key(object), packed);
            }
            Event::InitDone => {
                let state = &mut *self.0.state.write();
                state.seen = take(&mut state.listed);
                self.0.is_listed.send_replace(true);
            }
            Event::Apply(object) => {
                let packed = Packed::of(object);
                self.0.state.write().seen.put(key(object), packed);
            }
            Event::Delete(object) => self.0.state.write().seen.remove(&key(object)),
        }
    }

    /// Waits until all objects were listed once.
    pub(super) async fn wait_until_listed(&self) {
        // The wait fails only if the sender is gone, which is as old as this.
        let _ = self.0.is_listed.subscribe().wait_for(|is_listed| *is_listed).await;
    }

    /// Returns the outline of an object by its name.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Outline> {
        #[derive(Deserialize)]
        struct Described {
            metadata: ObjectMeta,
        }
        let key = (namespace.to_owned(), name.to_owned());
        let (text, fingerprint) = {
            let state = self.0.state.read();
            let packed = state.seen.objects.get(&key)?;
            (Arc::clone(&packed.text), packed.fingerprint)
        };
        let Described { metadata } = serde_json::from_slice(&text).ok()?;
        Some(Outline { metadata, fingerprint })
    }

    /// Returns the objects of a resource, by their names.
    pub(super) fn of<K: DeserializeOwned>(&self, names: &Names) -> Vec<K> {
        let texts: Vec<Arc<[u8]>> =
            self.0.state.read().seen.of(names).map(|(_, packed)| Arc::clone(&packed.text)).collect();
        // They are read without the lock, which the watch needs.
        texts.iter().filter_map(|text| serde_json::from_slice(text).ok()).collect()
    }

    /// Returns the names of a resource's objects, each with its fingerprint.
    pub(super) fn fingerprints(&self, names: &Names) -> Vec<(String, u64)> {
        let state = self.0.state.read();
        state.seen.of(names).map(|(name, packed)| (name.clone(), packed.fingerprint)).collect()
    }
}

impl Known {
    fn put(&mut self, key: Key, packed: Option<Packed>) {
        // Its label may have been another one.
        self.remove(&key);
        let Some(packed) = packed else { return };
        if let Some(resource) = &packed.resource {
            let of_resource = (key.0.clone(), resource.clone());
            self.of_resources.entry(of_resource).or_default().insert(key.1.clone());
        }
        self.objects.insert(key, packed);
    }

    fn remove(&mut self, key: &Key) {
        let Some(Packed { resource: Some(resource), .. }) = self.objects.remove(key) else { return };
        let of_resource = (key.0.clone(), resource);
        if let Some(names) = self.of_resources.get_mut(&of_resource) {
            names.remove(&key.1);
            if names.is_empty() {
                self.of_resources.remove(&of_resource);
            }
        }
    }

    /// Returns the objects of a resource, in the order of their names.
    fn of(&self, resource: &Names) -> impl Iterator<Item = (&String, &Packed)> {
        let namespace = resource.namespace.clone();
        let names = self.of_resources.get(&(namespace.clone(), resource.resource.clone()));
        names
            .into_iter()
            .flatten()
            .filter_map(move |name| Some((name, self.objects.get(&(namespace.clone(), name.clone()))?)))
    }
}

impl Packed {
    /// Packs an object; `None` if it can't be written as JSON, which is true of none that was read as such.
    fn of(object: &DynamicObject) -> Option<Packed> {
        Some(Packed {
            resource: object.labels().get(INSTANCE_LABEL).cloned(),
            fingerprint: fingerprint(object).ok()?,
            text: serde_json::to_vec(object).ok()?.into(),
        })
    }
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
