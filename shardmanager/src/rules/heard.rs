//! What replicas said lately: who is alive, what each holds, who leads. In memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skv_sharding::{ClusterId, GroupId, Replica, ReplicaId};

use super::ALIVE;
use super::registration::{Held, Registration, Report};

/// The registrations of the last [`ALIVE`], the newest of each server.
///
/// Times are given as the time since some fixed moment, by a clock that never goes back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    alive: BTreeMap<GroupId, BTreeMap<String, Heartbeat>>,
    /// The groups that anybody ever claimed to have data of.
    held_data: BTreeSet<GroupId>,
    leaders: BTreeMap<GroupId, Leader>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Heartbeat {
    registration: Registration,
    at: Duration,
}

/// Who led a group when it was last heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The leader.
    pub id: ReplicaId,
    /// Its term: of two hints the higher is newer.
    pub term: u64,
}

impl Heard {
    /// Whoever was silent for too long is no longer alive.
    pub(super) fn forget_silent(&mut self, now: Duration) {
        for servers in self.alive.values_mut() {
            servers.retain(|_, heartbeat| now.saturating_sub(heartbeat.at) < ALIVE);
        }
    }

    /// Takes a registration in.
    pub(super) fn note(&mut self, registration: &Registration, now: Duration) {
        if let Held::Data { report, .. } = &registration.held {
            self.held_data.insert(registration.group);
            if let Some(id) = report.leader
                && self.leaders.get(&registration.group).is_none_or(|l| l.term < report.term)
            {
                self.leaders.insert(registration.group, Leader { id, term: report.term });
            }
        }
        let heartbeat = Heartbeat { registration: registration.clone(), at: now };
        self.alive
            .entry(registration.group)
            .or_default()
            .insert(registration.replica.server.clone(), heartbeat);
    }

    /// The living holder of a server's name.
    pub(super) fn holder(&self, group: GroupId, server: &str) -> Option<&Registration> {
        self.alive.get(&group)?.get(server).map(|heartbeat| &heartbeat.registration)
    }

    /// The names of a group's living servers.
    pub(super) fn servers(&self, group: GroupId) -> impl Iterator<Item = &str> {
        self.alive.get(&group).into_iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// The newest registrations of a group's living replicas.
    pub(super) fn registrations(&self, group: GroupId) -> impl Iterator<Item = &Registration> {
        self.alive.get(&group).into_iter().flat_map(BTreeMap::values).map(|heartbeat| &heartbeat.registration)
    }

    /// Who is alive and has data.
    pub(super) fn data(&self) -> impl Iterator<Item = Data<'_>> {
        self.alive.values().flat_map(BTreeMap::values).filter_map(|heartbeat| {
            let Registration { group, replica, held } = &heartbeat.registration;
            match held {
                Held::Data { cluster, report } => {
                    Some(Data { group: *group, replica, cluster: *cluster, report })
                }
                Held::Nothing => None,
            }
        })
    }

    /// The living empty replicas of a group.
    pub(super) fn empty(&self, group: GroupId) -> impl Iterator<Item = &Replica> {
        self.registrations(group).filter(|r| r.held == Held::Nothing).map(|r| &r.replica)
    }

    /// Whether anybody ever claimed to have data of this group.
    pub(super) fn held_data(&self, group: GroupId) -> bool {
        self.held_data.contains(&group)
    }

    /// Who led each group when last heard of.
    pub fn leaders(&self) -> &BTreeMap<GroupId, Leader> {
        &self.leaders
    }
}

/// A living replica with data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data<'a> {
    pub(super) group: GroupId,
    pub(super) replica: &'a Replica,
    pub(super) cluster: ClusterId,
    pub(super) report: &'a Report,
}
