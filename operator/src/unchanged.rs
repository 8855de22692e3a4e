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
