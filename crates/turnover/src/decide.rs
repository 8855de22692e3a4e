//! The decision on the next steps: from the number of groups that is asked for, the existing ones, and the
//! reports of the shard manager and the servers.

use std::collections::{BTreeMap, BTreeSet};

use skv_sharding::{GroupId, GroupUid, wanted_groups};

use crate::{Assignment, Report};

/// Everything that is known of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// The report of its servers.
    pub report: Report,
    /// The state of these servers.
    pub servers: Servers,
    /// The reason why its servers mustn't stop, should it turn out that the group was never founded. A
    /// server that waits for its group has nothing, and may get it at any moment: so a program that can't
    /// stop servers at once always has a reason.
    pub unproven: Option<String>,
}

/// The state of the servers of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Servers {
    /// They run, or are about to start.
    #[default]
    There,
    /// They don't exist.
    Missing,
    /// They were ordered to stop, since the group has ended.
    Stopping,
}

/// The next steps, and the notes about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turnover {
    /// The groups that the store should have.
    pub wanted: BTreeSet<GroupId>,
    /// The groups whose servers must run: those that are wanted, and those that may still have data.
    pub running: BTreeSet<GroupId>,
    /// The groups that have ended: their servers stop, and the rest of them is removed.
    pub ended: BTreeSet<GroupId>,
    /// The steps that may be taken now. None of them takes data from a group that has some.
    pub steps: Vec<Step>,
    /// The notes on the work that goes on and the events that it waits for: joins, leaves, then group by
    /// group.
    pub notes: Vec<String>,
    /// The note of a group that must give its shards away and can't: it has no leader.
    pub stuck: Option<String>,
}

/// A request that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Have groups share the shards.
    Join(Vec<GroupId>),
    /// Have groups give their shards to the others.
    Leave(Vec<GroupId>),
    /// Have a group that has nothing end: from then on it takes nothing.
    Retire {
        /// The group.
        group: GroupId,
        /// The group's identity.
        uid: GroupUid,
        /// The server that leads it.
        server: String,
    },
}

/// Decides on the next steps towards this number of groups, given the existing ones. Without the shard
/// manager nothing is begun.
pub fn decide(count: u32, groups: &BTreeMap<GroupId, Group>, assignment: Option<&Assignment>) -> Turnover {
    let wanted = wanted(count, groups, assignment);
    let mut groups = groups.clone();
    for id in founded(assignment) {
        groups.entry(id).or_insert_with(|| Group { servers: Servers::Missing, ..Group::default() });
    }
    let mut turnover = match assignment {
        Some(assignment) => Decider { groups: &groups, assignment, wanted: &wanted }.decide(),
        None => Turnover { notes: too_many(count, &groups).into_iter().collect(), ..Turnover::default() },
    };
    let stopping = groups.iter().filter(|(_, group)| group.servers == Servers::Stopping);
    turnover.ended.extend(stopping.map(|(id, _)| *id));
    let all = groups.keys().chain(&wanted).copied();
    turnover.running = all.filter(|id| !turnover.ended.contains(id)).collect();
    turnover.wanted = wanted;
    turnover
}

/// Returns the groups that a store should have, if it is asked for this number. A group that the shard
/// manager knows exists, whether it has servers or not; one that is retired doesn't.
pub fn wanted(
    count: u32,
    groups: &BTreeMap<GroupId, Group>,
    assignment: Option<&Assignment>,
) -> BTreeSet<GroupId> {
    let is_over = |id: &GroupId| groups.get(id).is_some_and(Group::is_over);
    let all: BTreeSet<GroupId> = groups.keys().copied().chain(founded(assignment)).collect();
    let existing = all.into_iter().filter(|id| !is_over(id));
    let none = BTreeSet::new();
    let (sharing, drained) = assignment.map_or((&none, &none), |a| (&a.sharing, &a.drained));
    wanted_groups(count, existing, sharing, drained)
}

fn founded(assignment: Option<&Assignment>) -> impl Iterator<Item = GroupId> {
    assignment.into_iter().flat_map(|assignment| assignment.founded.keys().copied())
}

/// Returns a note if some groups are too many. Only the shard manager can name them.
fn too_many(count: u32, groups: &BTreeMap<GroupId, Group>) -> Option<String> {
    let stays = |(id, group): (&GroupId, &Group)| (group.servers != Servers::Stopping).then_some(*id);
    let groups: Vec<GroupId> = groups.iter().filter_map(stays).collect();
    let all = GroupId::list(&groups);
    match groups.len().saturating_sub(count as usize) {
        0 => None,
        1 => Some(format!("one of {all} is to leave: waiting for the shard manager")),
        more => Some(format!("{more} of {all} are to leave: waiting for the shard manager")),
    }
}

impl Group {
    /// Returns true if the group takes no shard any more.
    fn is_over(&self) -> bool {
        self.servers == Servers::Stopping || self.report.retired
    }
}

/// All groups, also those without servers, and the facts that decide about them.
struct Decider<'a> {
    groups: &'a BTreeMap<GroupId, Group>,
    assignment: &'a Assignment,
    wanted: &'a BTreeSet<GroupId>,
}

/// The next step of one group.
enum Next {
    Step(Step, String),
    /// The group has ended.
    End,
    /// No step, for this reason.
    Wait(String),
}

impl Decider<'_> {
    fn decide(&self) -> Turnover {
        let mut turnover = Turnover::default();
        self.join(&mut turnover);
        self.leave(&mut turnover);
        let is_ending = |id: &GroupId, group: &Group| !self.wanted.contains(id) || group.report.retired;
        for (id, group) in self.groups.iter().filter(|(id, group)| is_ending(id, group)) {
            if group.servers == Servers::Stopping || self.assignment.sharing.contains(id) {
                continue;
            }
            match self.end(*id, group) {
                Next::Step(step, note) => {
                    turnover.steps.push(step);
                    turnover.notes.push(note);
                }
                Next::End => {
                    turnover.ended.insert(*id);
                    turnover.notes.push(format!("{id} is no more: its servers stop"));
                }
                Next::Wait(why) => {
                    if self.is_stuck(*id, group) {
                        turnover.stuck.get_or_insert_with(|| why.clone());
                    }
                    turnover.notes.push(why);
                }
            }
        }
        turnover
    }

    /// Has all missing groups join at once, so that each shard moves once. Those that people have drained
    /// stay drained.
    fn join(&self, turnover: &mut Turnover) {
        let to_share = self.wanted.difference(&self.assignment.drained);
        let is_missing = |id: &&GroupId| !self.assignment.sharing.contains(*id);
        let missing: Vec<GroupId> = to_share.clone().filter(is_missing).copied().collect();
        if missing.is_empty() {
            return;
        }
        let list = GroupId::list(&missing);
        if let Some(why) = to_share.copied().find_map(|id| self.obstacle(id)) {
            turnover.notes.push(format!("{list} {} to join: {why}", verb(&missing, "is", "are")));
            return;
        }
        turnover.notes.push(format!("{list} {}", verb(&missing, "joins", "join")));
        turnover.steps.push(Step::Join(missing));
    }

    /// Returns the reason that keeps all from joining: a group that couldn't take shards, or give them.
    fn obstacle(&self, id: GroupId) -> Option<String> {
        let group = self.groups.get(&id);
        if group.is_some_and(Group::is_over) {
            return Some(format!("waiting for the old {id} to be gone"));
        }
        if !self.assignment.founded.contains_key(&id) {
            return Some(format!("waiting for {id} to be founded"));
        }
        let is_led = group.is_some_and(|group| group.report.leader.is_some());
        (!is_led).then(|| format!("waiting for a leader of {id} that has a quorum"))
    }

    /// Has all groups that are too many leave at once, so that no shard goes from one to the other.
    fn leave(&self, turnover: &mut Turnover) {
        let is_retired = |id: &GroupId| self.groups.get(id).is_some_and(|group| group.report.retired);
        let is_to_leave = |id: &GroupId| !self.wanted.contains(id) || is_retired(id);
        let leaving: Vec<GroupId> = self.assignment.sharing.iter().copied().filter(is_to_leave).collect();
        if leaving.is_empty() {
            return;
        }
        let list = GroupId::list(&leaving);
        if leaving.len() == self.assignment.sharing.len() {
            let are = verb(&leaving, "is", "are");
            turnover.notes.push(format!("{list} {are} to leave: no other group shares the shards"));
            return;
        }
        turnover.notes.push(format!("{list} {}", verb(&leaving, "leaves", "leave")));
        turnover.steps.push(Step::Leave(leaving));
    }

    /// Decides on a group that no longer shares the shards, until it has ended.
    fn end(&self, id: GroupId, group: &Group) -> Next {
        let Some(uid) = self.assignment.founded.get(&id) else {
            // The group was never founded, or it was retired and forgotten.
            let doubt = may_have_something(id, group);
            return doubt.map_or(Next::End, |why| Next::Wait(format!("{id} is to go: {why}")));
        };
        if group.report.is_retired() {
            return Next::Wait(format!("{id} is retired: waiting for the shard manager to forget it"));
        }
        if group.servers == Servers::Missing {
            return Next::Wait(format!("{id} is to leave: its servers, which are gone, are made again"));
        }
        let Some(leader) = &group.report.leader else {
            return Next::Wait(format!("{id} is to leave, but no leader of it has a quorum"));
        };
        if leader.uid != *uid {
            return Next::Wait(format!("{id} is to leave, but the shard manager knows another {id}"));
        }
        let shards = self.assignment.shards_of(id).max(leader.owned);
        if shards > 0 {
            return Next::Wait(format!("{id} leaves: {shards} of its shards are still to go"));
        }
        if leader.arriving > 0 {
            return Next::Wait(format!("{id} leaves: it still receives {} shards", leader.arriving));
        }
        let step = Step::Retire { group: id, uid: *uid, server: leader.server.clone() };
        Next::Step(step, format!("{id} is empty, and is retired"))
    }

    /// Returns true if the group has shards and no leader: without one they stay where they are.
    fn is_stuck(&self, id: GroupId, group: &Group) -> bool {
        group.report.leader.is_none() && self.assignment.shards_of(id) > 0
    }
}

/// Returns the reason against stopping the servers of a group that the shard manager doesn't know.
fn may_have_something(id: GroupId, group: &Group) -> Option<String> {
    if group.report.lives {
        return Some("waiting for the shard manager, to which it isn't known yet".to_owned());
    }
    if group.report.retired {
        // The retirement was committed: a replica that doesn't answer has nothing either. Those that are
        // about to learn it may have data: on a volume that is kept they would take the group for a living
        // one.
        let unaware = group.report.unaware.first();
        return unaware.map(|server| format!("waiting for {server} to learn that {id} is retired"));
    }
    group.unproven.clone()
}

fn verb(groups: &[GroupId], one: &'static str, many: &'static str) -> &'static str {
    if groups.len() == 1 { one } else { many }
}

#[cfg(test)]
mod tests;
