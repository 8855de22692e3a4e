//! The form that a store has for as long as it lives: the servers of its groups, and the nodes of its volumes.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use skv_sharding::Ring;

use super::objects::{group_of, place};

/// The form of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// The ring that the groups share; `None` if each has servers of its own.
    pub(super) ring: Option<Ring>,
    /// The numbers of replicas of each group that people choose between.
    pub(super) replicas: [u32; 2],
    /// True if each volume can be used only on the node on which it was made.
    pub(super) is_local: bool,
}

impl Form {
    /// Chooses the form of a seed's store, by a generator of its own: it takes no draw from all else that the seed
    /// decides.
    pub(super) fn of_seed(seed: u64) -> Form {
        let mut rng = SmallRng::seed_from_u64(!seed);
        let is_ring = rng.random_bool(0.15);
        let is_single = rng.random_bool(0.15);
        let is_local = rng.random_bool(0.25);
        let servers = rng.random_range(3..6);
        let replicas = if rng.random_bool(0.6) { 3 } else { rng.random_range(1..3) };
        let ring = Ring::new(servers, replicas).ok().filter(|_| is_ring);
        let replicas = match ring {
            Some(ring) => [ring.replicas(); 2],
            None if is_single => [1, 3],
            None => [3, 5],
        };
        Form { ring, replicas, is_local }
    }

    /// Asks for this form in a specification, where it isn't the usual one.
    pub(super) fn specify(self, spec: &mut Value) {
        if let Some(ring) = self.ring {
            spec["placement"] = json!("ring");
            // There is a group for each server, and a shard for each group.
            spec["groups"] = json!(ring.servers());
            spec["shards"] = json!(ring.servers());
        }
        let [replicas, _] = self.replicas;
        if replicas != 3 {
            spec["replicas"] = json!(replicas);
        }
    }

    /// Returns true if a group may have so few replicas that it can't do without one of them.
    pub(super) fn is_small(self) -> bool {
        self.replicas.iter().any(|replicas| *replicas < 3)
    }

    /// Returns the properties that few stores have, each counted once.
    pub(super) fn counted(self) -> BTreeMap<&'static str, u64> {
        let named = [
            ("a ring", self.ring.is_some()),
            ("few replicas", self.is_small()),
            ("local volumes", self.is_local),
        ];
        named.into_iter().filter(|(_, is_so)| *is_so).map(|(name, _)| (name, 1)).collect()
    }

    /// Returns the groups whose replicas are on the servers of a StatefulSet.
    pub(super) fn groups_of(self, set: &str) -> Vec<u32> {
        match self.ring {
            Some(ring) => ring.groups().map(|group| group.0).collect(),
            None => group_of(set).into_iter().collect(),
        }
    }

    /// Returns the groups of which a server has a replica.
    pub(super) fn hosted_by(self, server: &str) -> Vec<u32> {
        let Some((set, ordinal)) = place(server) else { return Vec::new() };
        match self.ring {
            Some(ring) => ring.groups_of(ordinal).map(|group| group.0).collect(),
            None => group_of(set).into_iter().collect(),
        }
    }
}
