//! The rules of registration: from the record, what was heard lately and one more
//! registration to the next record and a plan. No IO, no clock, no random source.

mod candidates;
mod changes;
mod heard;
mod moves;
mod rebuild;
mod registration;
mod retirement;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use skv_sharding::{
    ClusterId, Epoch, GroupId, GroupUid, Hash, MapRevision, Policy, Replica, ReplicaId, ShardSet,
};

use crate::record::{GroupRecord, Limits, Record};
pub use changes::{Change, ChangeRefusal, Changed, Pending, change};
pub use heard::{Heard, Leader};
pub use registration::{Held, Plan, Refusal, Registration, Report};

/// A replica that registered within this time counts as alive. Replicas register every
/// second or two.
pub const ALIVE: Duration = Duration::from_secs(6);

/// Groups have lower numbers.
const MOST_GROUPS: u32 = 4096;

/// A source of random numbers that aren't 0.
pub type Ids<'a> = dyn FnMut() -> u64 + 'a;

/// How the cluster is meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many groups there are in the first configuration.
    pub groups: u32,
    /// How many replicas a group has.
    pub replicas: u32,
    /// The number of shards.
    pub shards: u32,
    /// How keys are mapped to shards.
    pub hash: Hash,
    /// By which rule shards are spread.
    pub policy: Policy,
    /// The groups share their servers in a ring, which stays as it was made.
    pub ring: bool,
    /// What new groups must agree on.
    pub limits: Limits,
}

/// What a registration leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The next record with what makes it differ, where something durable changed. It must
    /// be stored before the plan is given out.
    pub change: Option<(Record, Vec<Event>)>,
    /// The version under which the plan is given; 0 without a record.
    pub version: MapRevision,
    /// The record's cluster, if there is a record.
    pub cluster: Option<ClusterId>,
    /// What to tell the replica.
    pub plan: Plan,
}

/// Why a record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There was no record.
    Founded,
    /// The record was lost, or older than the groups.
    Rebuilt,
    /// A replica asks to be admitted in place of one that was lost.
    Candidate(GroupId, String, ReplicaId),
    /// A replica has other addresses than before.
    Address(GroupId, String, ReplicaId),
    /// The member whose place a candidate wanted is back, or the group has all its members.
    Withdrawn(GroupId, String),
    /// A leader reported other members or another incarnation.
    Members(GroupId),
    /// A new group was founded.
    NewGroup(GroupId),
    /// So many shards have arrived in a group.
    Arrived(GroupId, usize),
    /// A group that says it is retired shares the shards no more.
    Leaves(GroupId),
    /// A group is no more.
    Retired(GroupId),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Founded => write!(f, "the first configuration was made"),
            Event::Rebuilt => write!(f, "the map was rebuilt from the groups"),
            Event::Candidate(group, server, id) => write!(f, "{server} asks to join {group} as replica {id}"),
            Event::Address(group, server, id) => {
                write!(f, "{server} of {group} (replica {id}) has another address")
            }
            Event::Withdrawn(group, server) => write!(f, "{group} needs no new replica on {server} any more"),
            Event::Members(group) => write!(f, "{group} has other members"),
            Event::NewGroup(group) => write!(f, "{group} was founded"),
            Event::Leaves(group) => write!(f, "{group} is retired, and shares the shards no more"),
            Event::Retired(group) => write!(f, "{group} was retired"),
            Event::Arrived(group, shards) => write!(f, "{shards} shards have arrived in {group}"),
        }
    }
}

/// Decides on one registration.
///
/// Deciding again on the same registration, say with a newer record, does no harm.
pub fn register(
    settings: &Settings,
    record: Option<&Record>,
    heard: &mut Heard,
    registration: &Registration,
    now: Duration,
    ids: &mut Ids<'_>,
) -> Result<Decision, Refusal> {
    heard.forget_silent(now);
    if let Some(plan) = retirement::answer(record, registration) {
        heard.drop_replica(registration);
        let (version, cluster) = record.map(|record| (record.revision, record.cluster)).unzip();
        return Ok(Decision { change: None, version: version.unwrap_or_default(), cluster, plan });
    }
    check_origin(settings, record, registration)?;
    check_name(settings, record, heard, registration)?;
    heard.note(registration, now);

    let stale = record.and_then(|record| rebuild::evidence_against(record, heard));
    let mut draft = match record {
        Some(record) if stale.is_none() => Draft::of(record),
        _ => match rebuild::rebuild(settings, record, heard, ids) {
            Ok(rebuilt) => Draft::rebuilt(rebuilt, heard),
            Err(missing) => {
                let reason = match stale {
                    Some(stale) => format!("the map must be rebuilt, since {stale}: {missing}"),
                    None => format!("there is no map yet: {missing}"),
                };
                let (cluster, plan) = match counted_on(heard, registration) {
                    Some((cluster, plan)) => (Some(cluster), plan),
                    None => (record.map(|record| record.cluster), Plan::Wait { reason }),
                };
                let version = record.map_or(MapRevision(0), |record| record.revision);
                return Ok(Decision { change: None, version, cluster, plan });
            }
        },
    };
    let plan = match registration.held.report() {
        None => draft.admit(settings, registration, heard, ids),
        Some(report) => draft.follow(settings, registration, report, heard),
    };
    Ok(draft.decide(plan))
}

/// Refuses what belongs to another cluster, group or kind of sharding.
fn check_origin(
    settings: &Settings,
    record: Option<&Record>,
    registration: &Registration,
) -> Result<(), Refusal> {
    let Registration { group, replica, held, .. } = registration;
    let known = record.and_then(|record| record.groups.get(group));
    // The first configuration has the groups that it is meant to have; later ones may join.
    let is_first = record.is_none() && *held == Held::Nothing;
    if is_first && group.0 >= settings.groups || group.0 >= MOST_GROUPS {
        return Err(Refusal::UnknownGroup { group: *group, groups: settings.groups });
    }
    let server = || replica.server.clone();
    if let (Some(theirs), Some(ours)) = (held.cluster(), record.map(|record| record.cluster))
        && theirs != ours
    {
        return Err(Refusal::ForeignCluster { server: server(), theirs, ours });
    }
    let Some(report) = held.report() else { return Ok(()) };
    if let Some(known) = known.filter(|known| known.uid != report.uid) {
        return Err(Refusal::ForeignGroup {
            server: server(),
            group: *group,
            theirs: report.uid,
            ours: known.uid,
        });
    }
    if (report.shards, report.hash) != (settings.shards, settings.hash) {
        return Err(Refusal::OtherSharding {
            group: *group,
            their_shards: report.shards,
            their_hash: report.hash,
            our_shards: settings.shards,
            our_hash: settings.hash,
        });
    }
    if let Some((shard, _)) = report.owned.iter().find(|(shard, _)| shard.0 >= settings.shards) {
        return Err(Refusal::Malformed(format!("{group} can't own shard {shard} of {}", settings.shards)));
    }
    Ok(())
}

/// One living replica per server name, and no more names than the group has replicas.
fn check_name(
    settings: &Settings,
    record: Option<&Record>,
    heard: &Heard,
    registration: &Registration,
) -> Result<(), Refusal> {
    let Registration { group, replica, .. } = registration;
    let known = record.and_then(|record| record.groups.get(group));
    if let Some(holder) = heard.holder(*group, &replica.server)
        && holder.replica.id != replica.id
        // Nobody else can listen where a living replica does.
        && holder.replica.peer_address != replica.peer_address
        && right_to_name(known, registration) <= right_to_name(known, holder)
    {
        return Err(Refusal::NameHeld {
            group: *group,
            server: replica.server.clone(),
            holder: holder.replica.id,
            address: holder.replica.peer_address.clone(),
        });
    }
    let mut servers: Vec<&str> = match known {
        Some(known) => known.servers().collect(),
        None => heard.servers(*group).collect(),
    };
    servers.sort_unstable();
    servers.dedup();
    if !servers.contains(&replica.server.as_str()) && servers.len() >= settings.replicas as usize {
        return Err(Refusal::TooManyServers {
            group: *group,
            server: replica.server.clone(),
            known: servers.into_iter().map(str::to_owned).collect(),
        });
    }
    Ok(())
}

/// A member that isn't empty can't be kept out by whoever came first under its server's name;
/// among equals the first stays.
fn right_to_name(group: Option<&GroupRecord>, registration: &Registration) -> u8 {
    let is_member = group.is_none_or(|group| group.member(registration.replica.id).is_some());
    u8::from(is_member && registration.held != Held::Nothing)
}

/// A first member that has not begun while the record was lost: its group may need it to
/// elect the leader that the rebuilding waits for. It is told where it belongs, which
/// founds nothing.
fn counted_on(heard: &Heard, registration: &Registration) -> Option<(ClusterId, Plan)> {
    if registration.held != Held::Nothing {
        return None;
    }
    let reports = || {
        heard
            .group(registration.group)
            .filter_map(|other| Some((other.held.cluster()?, other.held.report()?)))
    };
    // Of a revived group the old members may be there still: nobody may help them to a leader.
    let incarnation = reports().map(|(_, report)| report.incarnation).max()?;
    reports().filter(|(_, report)| report.incarnation == incarnation).find_map(|(cluster, report)| {
        let is_member = report.members.iter().any(|m| m.id == registration.replica.id);
        is_member.then_some((cluster, Plan::Join { uid: report.uid, incarnation }))
    })
}

/// The record while it is being changed.
struct Draft<'a> {
    record: Cow<'a, Record>,
    events: Vec<Event>,
    /// The revision was raised already.
    raised: bool,
}

impl<'a> Draft<'a> {
    fn of(record: &'a Record) -> Self {
        Draft { record: Cow::Borrowed(record), events: Vec::new(), raised: false }
    }

    fn rebuilt(record: Record, heard: &Heard) -> Self {
        let exists = heard.all().any(|registration| registration.held != Held::Nothing);
        let event = if exists { Event::Rebuilt } else { Event::Founded };
        Draft { record: Cow::Owned(record), events: vec![event], raised: true }
    }

    /// A replica without data: one of the first members, or the replacement of a lost one.
    fn admit(
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

    /// Whether there is no such group; or one that never had anything, and of whose servers
    /// nobody is left.
    fn may_found(&self, id: GroupId, heard: &Heard) -> bool {
        self.record.groups.get(&id).is_none_or(|group| {
            let is_alive = |member: &Replica| heard.group(id).any(|other| other.replica.id == member.id);
            group.is_fresh() && !group.members.iter().any(is_alive)
        })
    }

    /// A group that is new in a cluster which has shards: it begins without any, and joins when
    /// it is asked to.
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

    /// A replica with data: it says where it is, and as a leader who its members are.
    fn follow(
        &mut self,
        settings: &Settings,
        registration: &Registration,
        report: &Report,
        heard: &Heard,
    ) -> Plan {
        let Registration { group: id, replica, .. } = registration;
        if let Some(group) = self.record.groups.get(id)
            && report.incarnation < group.incarnation
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

    /// Takes the word of a group that it has nothing and takes nothing any more.
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

    /// Takes a leader's word on its shards.
    fn count_arrivals(&mut self, id: GroupId, report: &Report) {
        if moves::is_news(&self.record, &report.owned) {
            let arrived = moves::arrived(self.record.to_mut(), id, &report.owned);
            self.events.push(Event::Arrived(id, arrived));
        }
    }

    /// Takes a leader's word on its group.
    fn confirm(&mut self, id: GroupId, report: &Report, heard: &Heard) {
        let Some(group) = self.record.groups.get(&id) else { return };
        let members = rebuild::with_addresses(&report.members, Some(group), heard, id);
        if members == group.members && report.incarnation == group.incarnation {
            return;
        }
        self.events.push(Event::Members(id));
        if let Some(group) = self.group_mut(id) {
            group.incarnation = report.incarnation;
            group.candidates.retain(|c| !members.iter().any(|m| m.id == c.id));
            group.members = members;
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

    /// A server that isn't wanted any more must not stay a candidate: it would be admitted
    /// the day a member is removed.
    fn withdraw_unneeded(&mut self, settings: &Settings, id: GroupId) {
        let Some(group) = self.record.groups.get(&id) else { return };
        for server in candidates::unneeded(group, settings.replicas) {
            self.withdraw_candidate(id, &server);
        }
    }

    /// A replica that isn't a member waits under its server's name; a newer one replaces
    /// an older one.
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

    fn decide(mut self, plan: Plan) -> Decision {
        if !self.events.is_empty() && !self.raised {
            self.record.to_mut().revision.0 += 1;
        }
        let (version, cluster) = (self.record.revision, Some(self.record.cluster));
        let change = (!self.events.is_empty()).then(|| (self.record.into_owned(), self.events));
        Decision { change, version, cluster, plan }
    }
}

impl Decision {
    /// Whether the plan holds whatever anybody else has written meanwhile.
    pub fn is_settled(&self) -> bool {
        self.change.is_none() && !matches!(self.plan, Plan::Wait { .. })
    }
}
