//! The record while a registration changes it, with the reasons for which it is written. Pure.
//!
//! A group that is new to a record is founded here (invariant 7), and once more if it never had data and none
//! of its first members registers any longer (`may_found`).

use std::borrow::Cow;

use skv_sharding::{Epoch, GroupId, GroupUid, Replica, ShardSet};

use super::decision::{Decision, Event};
use super::heard::Heard;
use super::registration::{Held, Plan, Registration, Report};
use super::settings::{Ids, Settings};
use super::{candidates, moves, rebuild, retirement};
use crate::record::{GroupRecord, Record};

/// The record while it is being changed.
pub(super) struct Draft<'a> {
    record: Cow<'a, Record>,
    events: Vec<Event>,
    /// True if the map revision was raised already.
    raised: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        Draft { record: Cow::Borrowed(record), events: Vec::new(), raised: false }
    }

    pub(super) fn rebuilt(record: Record, heard: &Heard) -> Self {
        let exists = heard.all().any(|registration| registration.held != Held::Nothing);
        let event = if exists { Event::Rebuilt } else { Event::Founded };
        Draft { record: Cow::Owned(record), events: vec![event], raised: true }
    }

    /// Admits a replica without data: one of the first members, or the replacement of a lost one.
    pub(super) fn admit(
        &mut self,
        settings: &Settings,
        registration: &Registration,
        heard: &Heard,
        ids: &mut Ids<'_>,
    ) -> Plan {
        let Registration { group: id, replica, .. } = registration;
        if self.may_found(*id, heard)
            && let Err(reason) = self.found(settings, *id, heard, ids)
        {
            return Plan::Wait { reason };
        }
        let Some(group) = self.record.groups.get(id) else {
            return Plan::Wait { reason: format!("there is no {id}") };
        };
        let GroupRecord { uid, incarnation, .. } = *group;
        let plan = match group.bootstrap_for(replica.id).cloned() {
            Some(bootstrap) => Plan::Bootstrap { uid, bootstrap, limits: self.record.limits },
            None => Plan::Join { uid, incarnation },
        };
        match group.member(replica.id) {
            Some(member) if member == replica => {}
            Some(_) => self.move_member(registration),
            None => self.register_candidate(registration),
        }
        plan
    }

    /// Returns true if there is no such group; or one that never had data, and none of whose servers still
    /// registers.
    fn may_found(&self, id: GroupId, heard: &Heard) -> bool {
        self.record.groups.get(&id).is_none_or(|group| {
            let is_alive = |member: &Replica| heard.group(id).any(|other| other.replica.id == member.id);
            group.is_fresh() && !group.members.iter().any(is_alive)
        })
    }

    /// Founds a group that is new in a cluster which has shards: it begins without any, and joins when it
    /// is asked to.
    fn found(
        &mut self,
        settings: &Settings,
        id: GroupId,
        heard: &Heard,
        ids: &mut Ids<'_>,
    ) -> Result<(), String> {
        if heard.exists(id) && !self.record.groups.contains_key(&id) {
            return Err(rebuild::unreported(id));
        }
        let members = rebuild::first_members(settings, heard, id)?;
        let group = GroupRecord::founded(GroupUid(ids()), members, ShardSet::default(), Epoch::default());
        self.record.to_mut().groups.insert(id, group);
        self.events.push(Event::NewGroup(id));
        Ok(())
    }

    /// Takes the registration of a replica with data: its addresses, and from a leader its members.
    pub(super) fn follow(
        &mut self,
        settings: &Settings,
        registration: &Registration,
        report: &Report,
        heard: &Heard,
    ) -> Plan {
        let Registration { group: id, replica, .. } = registration;
        if let Some(group) = self.record.groups.get(id)
            && report.is_of_another_life(group.incarnation)
        {
            // The group was revived without it: it has to start again, as a new replica.
            return Plan::Join { uid: group.uid, incarnation: group.incarnation };
        }
        if report.retired {
            return self.retire(*id, report, heard);
        }
        if report.confirmed && heard.is_newest(*id, report) {
            self.confirm(*id, report, heard);
            self.count_arrivals(*id, report);
            self.renumber(*id, report);
            self.withdraw_unneeded(settings, *id);
        }
        let Some(group) = self.record.groups.get(id) else {
            return Plan::Wait { reason: format!("{id} isn't part of any configuration yet") };
        };
        if let Some(member) = group.member(replica.id) {
            let (moved, replaced) =
                (member != replica, group.candidates.iter().any(|c| c.server == replica.server));
            if moved {
                self.move_member(registration);
            }
            if replaced {
                self.withdraw_candidate(*id, &replica.server);
            }
        } else {
            self.register_candidate(registration);
        }
        let candidates = self
            .record
            .groups
            .get(id)
            .map_or_else(Vec::new, |group| candidates::wanted(group, settings.replicas, heard, *id));
        let uid_of = |group: GroupId| self.record.groups.get(&group).map(|group| group.uid);
        let out = moves::out_of(&self.record, *id, &report.owned).into_iter();
        let moves = out.filter_map(|(shard, to)| Some((shard, to, uid_of(to.to)?))).collect();
        Plan::Serve { candidates, moves }
    }

    /// Takes the report of a group that it has nothing and takes nothing any more.
    fn retire(&mut self, id: GroupId, report: &Report, heard: &Heard) -> Plan {
        let mut next = self.record.clone().into_owned();
        let reason = match retirement::retire(&mut next, heard, id, report.uid) {
            Ok(()) => {
                self.events.push(Event::Retired(id));
                format!("{id} is retired: its servers can be stopped")
            }
            Err(reason) => {
                if next != *self.record {
                    self.events.push(Event::Leaves(id));
                }
                reason
            }
        };
        self.record = Cow::Owned(next);
        Plan::Wait { reason }
    }

    /// Takes a leader's report on its shards.
    fn count_arrivals(&mut self, id: GroupId, report: &Report) {
        if moves::is_news(&self.record, &report.owned) {
            let arrived = moves::arrived(self.record.to_mut(), id, &report.owned);
            self.events.push(Event::Arrived(id, arrived));
        }
    }

    /// Takes a leader's report on moves that their targets refuse for good.
    fn renumber(&mut self, id: GroupId, report: &Report) {
        if !moves::stale(&self.record, id, &report.passed).is_empty() {
            let renumbered = moves::renumber(self.record.to_mut(), id, &report.passed);
            self.events.push(Event::Renumbered(id, renumbered));
        }
    }

    /// Takes a leader's report on its group.
    fn confirm(&mut self, id: GroupId, report: &Report, heard: &Heard) {
        let Some(group) = self.record.groups.get(&id) else { return };
        let members = rebuild::with_addresses(&report.members, Some(group), heard, id);
        if are_the_same(&members, &group.members) && report.incarnation == group.incarnation {
            self.end_first_founding(heard);
            return;
        }
        self.events.push(Event::Members(id));
        if let Some(group) = self.group_mut(id) {
            group.incarnation = report.incarnation;
            group.candidates.retain(|c| !members.iter().any(|m| m.id == c.id));
            group.members = members;
        }
    }

    /// Raises the first map revision when all groups have a leader. A report that knows a later one proves that the
    /// first founding is over, so that no group of it is founded again if the record is lost: see `rebuild`.
    fn end_first_founding(&mut self, heard: &Heard) {
        let (first, _) = rebuild::FIRST;
        let has_begun = |group: &GroupId| heard.leaders().contains_key(group);
        if !self.raised && self.record.revision == first && self.record.groups.keys().all(has_begun) {
            self.events.push(Event::Begun);
        }
    }

    fn move_member(&mut self, Registration { group: id, replica, .. }: &Registration) {
        self.events.push(Event::Address(*id, replica.server.clone(), replica.id));
        if let Some(group) = self.group_mut(*id) {
            group.members.iter_mut().filter(|m| m.id == replica.id).for_each(|m| m.clone_from(replica));
        }
    }

    fn withdraw_candidate(&mut self, id: GroupId, server: &str) {
        self.events.push(Event::Withdrawn(id, server.to_owned()));
        if let Some(group) = self.group_mut(id) {
            group.candidates.retain(|c| c.server != server);
        }
    }

    /// Drops candidates that aren't wanted any more: such a server would be admitted on the day on which a
    /// member is removed.
    fn withdraw_unneeded(&mut self, settings: &Settings, id: GroupId) {
        let Some(group) = self.record.groups.get(&id) else { return };
        for server in candidates::unneeded(group, settings.replicas) {
            self.withdraw_candidate(id, &server);
        }
    }

    /// Registers a replica that isn't a member: it waits under its server's name; a newer one replaces an
    /// older one.
    fn register_candidate(&mut self, registration: &Registration) {
        let Registration { group: id, replica, .. } = registration;
        let Some(group) = self.record.groups.get(id) else { return };
        if group.candidates.contains(replica) {
            return;
        }
        self.events.push(Event::Candidate(*id, replica.server.clone(), replica.id));
        if let Some(group) = self.group_mut(*id) {
            group.candidates.retain(|c| c.server != replica.server && c.id != replica.id);
            group.candidates.push(replica.clone());
        }
    }

    fn group_mut(&mut self, id: GroupId) -> Option<&mut GroupRecord> {
        self.record.to_mut().groups.get_mut(&id)
    }

    pub(super) fn decide(mut self, plan: Plan) -> Decision {
        if !self.events.is_empty() && !self.raised {
            self.record.to_mut().revision.0 += 1;
        }
        let (revision, cluster) = (self.record.revision, Some(self.record.cluster));
        let change = (!self.events.is_empty()).then(|| (self.record.into_owned(), self.events));
        Decision { change, revision, cluster, plan }
    }
}

/// Returns true if two lists have the same members. Their order says nothing: that of a founding is by server,
/// and that of a leader by id.
fn are_the_same(some: &[Replica], others: &[Replica]) -> bool {
    some.iter().all(|member| others.contains(member)) && others.iter().all(|member| some.contains(member))
}
