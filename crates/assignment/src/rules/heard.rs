//! The last registrations of replicas: the living ones, the data of each, the leaders. In memory only.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skv_sharding::{GroupId, Incarnation, Lineage, ReplicaId};

use super::registration::{Full, Held, Registration, Reign, Report};
use super::room::Room;
use super::settings::ALIVE;
use crate::record::{GroupRecord, Record};

/// The longest pause without a registration after which no living replica is forgotten: they register every two
/// seconds, and are remembered for [`ALIVE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The registrations of the last [`ALIVE`], the newest of each server.
///
/// Times are durations since some fixed moment, by a clock that never goes back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    alive: BTreeMap<GroupId, BTreeMap<String, Heartbeat>>,
    /// The memory that these take, in bytes: `note` adds to it, and `keep` takes from it.
    bytes: usize,
    /// The memory that they may take.
    pub(super) room: Room,
    /// The groups of the last record that was seen.
    recorded: BTreeSet<GroupId>,
    /// The groups that any replica claimed to belong to.
    claimed: BTreeSet<GroupId>,
    leaders: BTreeMap<GroupId, Leader>,
    /// The lineages of the incarnations that these lead.
    lineages: BTreeMap<GroupId, Lineage>,
    /// The highest committed entry that a leader of each group reported, with the group's incarnation.
    committed: BTreeMap<GroupId, (Incarnation, u64)>,
    /// The groups whose leaders reported last that they lack room.
    full: BTreeMap<GroupId, Full>,
    /// The times of the first and the last registration that were taken since a pause that was too long.
    listened: Option<(Duration, Duration)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Heartbeat {
    registration: Registration,
    at: Duration,
}

/// The leader of a group as it was last reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The leader.
    pub id: ReplicaId,
    /// The incarnation of the group that it leads.
    pub incarnation: Incarnation,
    /// The leader's term there.
    pub term: u64,
}

impl Leader {
    /// Orders reports: the greater is newer. A replica that revives a group may have missed elections, so
    /// that a new incarnation's terms begin below those of the one before. Within a term a replica of a
    /// higher id may depose another one.
    fn reign(&self) -> Reign {
        (self.incarnation, self.term, Some(self.id))
    }
}

impl Heard {
    /// Takes note of a record: callers pass every one that they read or wrote. Its groups exist, even if
    /// it is lost later, and replicas that were empty lately have been ordered to found them.
    pub fn saw(&mut self, record: &Record) {
        self.recorded = record.groups.keys().copied().collect();
        // The leftovers of a retired group prove nothing about one that is made again.
        let is_gone = |group: &GroupId| !record.groups.contains_key(group) && record.retired.had(*group);
        self.claimed.retain(|group| !is_gone(group));
        self.leaders.retain(|group, _| !is_gone(group));
        self.lineages.retain(|group, _| !is_gone(group));
        self.committed.retain(|group, _| !is_gone(group));
        self.full.retain(|group, _| !is_gone(group));
        for servers in self.alive.values_mut() {
            keep(servers, &mut self.bytes, |Heartbeat { registration, .. }| {
                registration.held.report().is_none_or(|report| record.retired.get(report.uid).is_none())
            });
        }
        for (&id, group) in &record.groups {
            self.forget_twin(id, group.incarnation);
        }
    }

    /// Forgets the reports of a twin of the recorded incarnation that came before that was recorded: with a
    /// higher number they would count as newer than those of the group.
    fn forget_twin(&mut self, group: GroupId, recorded: Incarnation) {
        if let Some(servers) = self.alive.get_mut(&group) {
            let is_later = |report: &Report| report.incarnation > recorded;
            keep(servers, &mut self.bytes, |Heartbeat { registration, .. }| {
                let report = registration.held.report().filter(|report| is_later(report));
                report.is_none_or(|report| !report.is_of_another_life(recorded))
            });
        }
        let is_later = self.leaders.get(&group).is_some_and(|leader| leader.incarnation > recorded);
        if is_later && self.leads_twin(group, recorded) {
            self.leaders.remove(&group);
            self.lineages.remove(&group);
            self.full.remove(&group);
            if self.committed.get(&group).is_some_and(|(incarnation, _)| *incarnation > recorded) {
                self.committed.remove(&group);
            }
        }
    }

    /// Returns true if the known leader of a group leads a twin of this incarnation.
    fn leads_twin(&self, group: GroupId, incarnation: Incarnation) -> bool {
        self.lineages.get(&group).is_some_and(|lineage| lineage.excludes(incarnation))
    }

    /// Drops a replica that registers from the members that were counted for its group.
    pub(super) fn drop_replica(&mut self, Registration { group, replica, .. }: &Registration) {
        if let Some(servers) = self.alive.get_mut(group) {
            keep(servers, &mut self.bytes, |heartbeat| heartbeat.registration.replica.id != replica.id);
        }
    }

    /// Begins to listen again if nobody has reached the manager for so long that it forgets replicas that live:
    /// they need the time to register again.
    pub fn notice_pause(&mut self, now: Duration) {
        self.listened = self.listened.filter(|(_, last)| now.saturating_sub(*last) <= LONGEST_PAUSE);
    }

    /// Forgets replicas that were silent for too long: they no longer count as alive.
    pub(super) fn forget_silent(&mut self, now: Duration) {
        self.notice_pause(now);
        self.listened = Some((self.listened.map_or(now, |(since, _)| since), now));
        for servers in self.alive.values_mut() {
            keep(servers, &mut self.bytes, |heartbeat| now.saturating_sub(heartbeat.at) < ALIVE);
        }
    }

    /// Records a registration.
    pub(super) fn note(&mut self, registration: &Registration, now: Duration) {
        if registration.held != Held::Nothing {
            self.claimed.insert(registration.group);
        }
        if let Some(&Report { incarnation, ref lineage, term, leader: Some(id), .. }) =
            registration.held.report()
        {
            let new = Leader { id, incarnation, term };
            if self.leaders.get(&registration.group).is_none_or(|known| known.reign() < new.reign()) {
                self.leaders.insert(registration.group, new);
                self.lineages.insert(registration.group, lineage.clone());
            }
        }
        if let Some(report @ Report { confirmed: true, .. }) = registration.held.report() {
            let known = self.committed.entry(registration.group).or_default();
            *known = (*known).max((report.incarnation, report.committed));
            if self.is_newest(registration.group, report) {
                self.full.insert(registration.group, report.full);
            }
        }
        let heartbeat = Heartbeat { registration: registration.clone(), at: now };
        let servers = self.alive.entry(registration.group).or_default();
        let replaced = servers.insert(registration.replica.server.clone(), heartbeat);
        self.bytes += registration.bytes();
        self.bytes -= replaced.map_or(0, |heartbeat| heartbeat.registration.bytes());
    }

    /// Returns the memory, in bytes, that all registrations take once this one is among them.
    pub(super) fn bytes_with(&self, registration: &Registration) -> usize {
        #[cfg(test)]
        assert_eq!(self.bytes, self.all().map(Registration::bytes).sum::<usize>());
        let replaced = self.holder(registration.group, &registration.replica.server);
        self.bytes - replaced.map_or(0, Registration::bytes) + registration.bytes()
    }

    /// Returns the living holder of a server's name.
    pub(super) fn holder(&self, group: GroupId, server: &str) -> Option<&Registration> {
        self.alive.get(&group)?.get(server).map(|heartbeat| &heartbeat.registration)
    }

    /// Returns the names of a group's living servers.
    pub(super) fn servers(&self, group: GroupId) -> impl Iterator<Item = &str> {
        self.alive.get(&group).into_iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// Returns the newest registrations of all living replicas.
    pub(super) fn all(&self) -> impl Iterator<Item = &Registration> {
        self.alive.values().flat_map(BTreeMap::values).map(|heartbeat| &heartbeat.registration)
    }

    /// Returns the newest registrations of a group's living replicas.
    pub(super) fn group(&self, group: GroupId) -> impl Iterator<Item = &Registration> {
        self.alive.get(&group).into_iter().flat_map(BTreeMap::values).map(|heartbeat| &heartbeat.registration)
    }

    /// Returns true if this group must not be founded again.
    pub(super) fn exists(&self, group: GroupId) -> bool {
        self.recorded.contains(&group) || self.claimed.contains(&group)
    }

    /// Returns all groups that must not be founded again.
    pub(super) fn existing(&self) -> impl Iterator<Item = GroupId> {
        self.recorded.union(&self.claimed).copied()
    }

    /// Returns true if no replica with data of this group registers, nor a first member of it that has yet
    /// to begin: it is down as a whole, or no more.
    pub(super) fn is_absent(&self, group: GroupId, recorded: Option<&GroupRecord>) -> bool {
        let is_part = |registration: &Registration| {
            let is_member = || recorded.is_some_and(|group| group.member(registration.replica.id).is_some());
            registration.held != Held::Nothing || is_member()
        };
        self.has_listened() && !self.group(group).any(is_part)
    }

    /// Returns true if all living replicas had the time to register. Nothing is concluded from a silence that
    /// is shorter.
    pub(super) fn has_listened(&self) -> bool {
        self.listened.is_some_and(|(since, now)| now.saturating_sub(since) >= ALIVE)
    }

    /// Returns true if no later leader of the group is known than the one that sends this report. The leader
    /// of a twin is no later one.
    pub(super) fn is_newest(&self, group: GroupId, report: &Report) -> bool {
        let is_of_twin = |leader: &Leader| {
            leader.incarnation != report.incarnation && self.leads_twin(group, report.incarnation)
        };
        let is_no_later = |leader: &Leader| leader.reign() <= report.reign() || is_of_twin(leader);
        self.leaders.get(&group).is_none_or(is_no_later)
    }

    /// Returns the index of the last entry of each group that a leader reported as committed, with the
    /// group's incarnation. Before a reset it shows what may be lost.
    pub fn committed(&self) -> &BTreeMap<GroupId, (Incarnation, u64)> {
        &self.committed
    }

    /// Returns the room that each group lacks, as its newest leader reported it last.
    pub fn full(&self) -> &BTreeMap<GroupId, Full> {
        &self.full
    }

    /// Returns the last reported leader of each group.
    pub fn leaders(&self) -> &BTreeMap<GroupId, Leader> {
        &self.leaders
    }
}

/// Drops the registrations of a group that aren't to be kept, and the memory that they took from `bytes`.
fn keep(servers: &mut BTreeMap<String, Heartbeat>, bytes: &mut usize, is_kept: impl Fn(&Heartbeat) -> bool) {
    servers.retain(|_, heartbeat| {
        let kept = is_kept(heartbeat);
        if !kept {
            *bytes -= heartbeat.registration.bytes();
        }
        kept
    });
}
