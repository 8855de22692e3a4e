//! The memory of what was as it should be: from what the objects of a resource were built, and the form in which
//! all of them were found right. While both are the same there is nothing to build, to compare or to apply.

use std::collections::HashMap;

use parking_lot::Mutex;
use skv_operator_plan::build::Input;
use skv_operator_plan::names::Names;

use crate::cache::{Cache, Fingerprints};

/// The input of a resource's objects, and the objects that were seen.
#[derive(PartialEq)]
pub(crate) struct State {
    pub(crate) input: Input,
    seen: Fingerprints,
}

/// The last state of each resource in which every object was as it should be.
#[derive(Default)]
pub(crate) struct Unchanged(Mutex<HashMap<Key, State>>);

/// The namespace and the name of a resource.
type Key = (String, String);

impl State {
    /// Returns the state of a resource as it was seen by now.
    pub(crate) fn seen(input: Input, cache: &Cache) -> State {
        let seen = cache.fingerprints(&input.resolved.names);
        State { input, seen }
    }

    /// Returns true if the objects are still seen as they were. Those that were found right may be others: then
    /// objects that are as they were at first need not be right.
    pub(crate) fn holds(&self, cache: &Cache) -> bool {
        self.seen == cache.fingerprints(&self.input.resolved.names)
    }
}

impl Unchanged {
    /// Returns true if this is the state in which every object was as it should be.
    pub(crate) fn is(&self, state: &State) -> bool {
        self.0.lock().get(&key(&state.input.resolved.names)) == Some(state)
    }

    /// Remembers a state in which every object was as it should be.
    pub(crate) fn remember(&self, state: State) {
        self.0.lock().insert(key(&state.input.resolved.names), state);
    }

    /// Forgets a resource that is gone.
    pub(crate) fn forget(&self, names: &Names) {
        self.0.lock().remove(&key(names));
    }
}

fn key(names: &Names) -> Key {
    (names.namespace.clone(), names.resource.clone())
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;
    use kube::runtime::watcher::Event;
    use serde_json::json;
    use skv_operator_plan::names::INSTANCE_LABEL;

    use super::*;
    use crate::testing::input;

    #[test]
    fn a_state_holds_until_an_object_is_seen_in_another_form() {
        let (cache, feeds) = Cache::written();
        let (_, services) = feeds.into_iter().find(|(kind, _)| kind.kind == "Service").unwrap();
        let service = |type_: &str| -> DynamicObject {
            let labels = json!({ INSTANCE_LABEL: "demo" });
            let metadata = json!({ "name": "demo", "namespace": "prod", "labels": labels });
            serde_json::from_value(json!({ "metadata": metadata, "spec": { "type": type_ } })).unwrap()
        };
        services.show(Event::Apply(service("NodePort")));
        let state = State::seen(input(), &cache);
        assert!(state.holds(&cache));
        services.show(Event::Apply(service("ClusterIP")));
        assert!(!state.holds(&cache));
    }
}
