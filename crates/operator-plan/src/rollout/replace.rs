//! Replicas that are gone for good, with their node or their volume: since when they are, and the next that
//! is replaced.
//!
//! A lost replica counts as a voter of its group until another has its place, so that one is replaced only if
//! its group holds a majority without it, and only while no other server of the resource is on its way.
//! A budget bounds the number of volumes that are given up within an hour: what looks like many lost nodes
//! may be a mistake.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use skv_resource::{LostServer, ReplacedServer, Replacing, Retention, ShardedKvSpec, ShardedKvStatus};
use skv_sharding::GroupId;

use super::cause::Cause;
use super::situation::{Abandoned, PodRef, Situation};
use crate::claims::Binding;
use crate::names::{ServerSet, ordinal};
use crate::observed::ObservedServers;
use crate::placement;
use crate::pods::{PodState, ServerPod};
use crate::resolved::Resolved;

/// The time that a budget is for.
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Everything on which the decision rests.
pub(super) struct Losses<'a> {
    /// The pods and members.
    pub(super) situation: &'a Situation<'a>,
    /// The servers whose replica is gone for good, each with the reason.
    pub(super) causes: &'a BTreeMap<String, Cause>,
    /// The status before this look, with the losses that were known then.
    pub(super) status: &'a ShardedKvStatus,
    /// The replacement that was begun, unless it is over.
    pub(super) under_way: Option<&'a Replacing>,
    /// The time of the look.
    pub(super) now: Timestamp,
}

/// The servers whose replica is gone for good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost {
    /// All of them.
    pub servers: Vec<LostServer>,
    /// The one that is replaced now.
    pub next: Option<Abandoned>,
    /// The reason why the first of the others isn't.
    pub waiting: Option<String>,
}

/// Returns true if lost replicas are replaced. In memory there is nothing to give up: a pod starts elsewhere
/// by itself.
fn replaces(spec: &ShardedKvSpec) -> bool {
    spec.replacement.enabled && !spec.storage.memory_only
}

/// Returns true if the cached view gives reason to look for losses.
pub(super) fn needs_look(
    resolved: &Resolved,
    status: Option<&ShardedKvStatus>,
    seen: &BTreeMap<ServerSet, ObservedServers>,
) -> bool {
    let mut pods = seen.values().flat_map(|servers| servers.pods.values());
    status.is_some_and(|status| {
        !status.lost.is_empty()
            || status.cluster.is_some() && replaces(&resolved.spec) && pods.any(ServerPod::is_in_doubt)
    })
}

impl Losses<'_> {
    /// Decides on the next replacement.
    pub(super) fn decide(&self) -> Lost {
        let mut lost = Lost { servers: self.servers(), ..Lost::default() };
        for server in &lost.servers {
            match self.abandoned(server) {
                Ok(next) => {
                    lost.next = Some(next);
                    break;
                }
                Err(why) => {
                    let LostServer { server, reason, .. } = server;
                    lost.waiting.get_or_insert_with(|| format!("{server} is lost: {reason}; {why}"));
                }
            }
        }
        lost
    }

    /// Returns the lost servers, by their names, with the time at which each loss was seen first.
    fn servers(&self) -> Vec<LostServer> {
        if !replaces(&self.situation.resolved.spec) {
            return Vec::new();
        }
        let known = self.status.lost.iter().filter(|lost| self.is_same(lost));
        let known: BTreeMap<&str, &LostServer> = known.map(|lost| (lost.server.as_str(), lost)).collect();
        let seen = self.causes.iter().filter(|(server, _)| self.stays(server)).map(|(server, cause)| {
            let before = known.get(server.as_str());
            LostServer {
                server: server.clone(),
                claim_uid: self.claim_uid(server).or_else(|| before?.claim_uid.clone()),
                since: before.map_or(Time(self.now), |before| before.since.clone()),
                reason: cause.to_string(),
            }
        });
        let undecided = known.values().filter(|lost| self.is_undecided(&lost.server));
        let mut lost: Vec<LostServer> = seen.chain(undecided.map(|lost| (*lost).clone())).collect();
        // One order, so that a server that is undecided for a while changes nothing.
        lost.sort_by(|one, other| one.server.cmp(&other.server));
        lost
    }

    /// Returns true if a server that was lost still has that claim, or none: with another it has another
    /// replica, whose loss would be a new one. A loss of an unknown claim is that of any.
    fn is_same(&self, lost: &LostServer) -> bool {
        let now = self.claim_uid(&lost.server);
        lost.claim_uid.is_none() || now.is_none() || now == lost.claim_uid
    }

    fn claim_uid(&self, server: &str) -> Option<String> {
        let (_, servers) = self.situation.set_of(server)?;
        servers.claim(server).map(|claim| claim.uid.clone())
    }

    /// Returns true if a server isn't to leave.
    fn stays(&self, server: &str) -> bool {
        let set = self.situation.set_of(server).map(|(set, _)| set);
        set.zip(ordinal(server)).is_some_and(|(set, ordinal)| ordinal < self.wanted(set))
    }

    fn wanted(&self, set: ServerSet) -> u32 {
        placement::servers(&self.situation.resolved.spec, set)
    }

    /// Returns true while it isn't known yet what a lost server's next pod lacks.
    fn is_undecided(&self, server: &str) -> bool {
        let is_open = |pod: &ServerPod| pod.node.is_none() && pod.state == PodState::Starting;
        let set = self.situation.set_of(server).filter(|_| self.stays(server));
        !self.causes.contains_key(server)
            && set.is_some_and(|(_, servers)| servers.pod(server).is_none_or(is_open))
    }

    /// Returns what is given up of a lost server; else the reason why that has to wait.
    fn abandoned(&self, lost: &LostServer) -> Result<Abandoned, String> {
        let settings = &self.situation.resolved.spec.replacement;
        let due = later(lost.since.0, SignedDuration::from_secs(settings.after_seconds.into()));
        if self.now < due {
            return Err(format!("it is replaced at {}", clock(due)));
        }
        let found = self
            .situation
            .set_of(&lost.server)
            .and_then(|(set, servers)| Some((set, servers.pod(&lost.server)?, servers.claim(&lost.server)?)));
        let Some(((set, pod, claim), cause)) = found.zip(self.causes.get(&lost.server)) else {
            return Err("waiting for its pod".to_owned());
        };
        self.judge(set, pod)?;
        let may_keep = settings.volumes == Retention::Retain
            && claim.binding == Binding::Bound
            && *cause != Cause::VolumeGone;
        Ok(Abandoned {
            pod: PodRef::from(pod),
            at_once: matches!(cause, Cause::NodeGone(_) | Cause::OutOfService(_)),
            claim: claim.name.clone(),
            claim_uid: claim.uid.clone(),
            keep: claim.volume.clone().filter(|_| may_keep),
            why: format!("{cause}, since {}", clock(lost.since.0)),
            history: self.history(pod)?,
        })
    }

    /// Returns the reason why a server can't be replaced now.
    fn judge(&self, set: ServerSet, pod: &ServerPod) -> Result<(), String> {
        // One that is back keeps nobody waiting: its replacement may be held up by this very loss.
        let is_on_its_way = |other: &str| {
            other != pod.name
                && self.stays(other)
                && !self.situation.is_whole(other)
                && !self.runs_without_vote(other)
        };
        if let Some(other) = self.under_way.filter(|replacing| is_on_its_way(&replacing.pod)) {
            return Err(format!("{} is being replaced", other.pod));
        }
        let mut hosted = placement::hosted_by(&self.situation.resolved.spec, set, pod.ordinal).into_iter();
        if let Some(id) = hosted.find(|id| !self.situation.holds_without(*id, pod)) {
            return Err(format!("{id} isn't seen to hold a majority without it"));
        }
        match self.away() {
            Some(other) => Err(format!("{other} isn't ready either, and may be on its way")),
            None => Ok(()),
        }
    }

    /// Returns true if a server runs in vain, and has a vote in none of its groups. Nobody waits for it; and it may
    /// stay as it is until the lost one is replaced, since its group could admit it, and needs a majority without it.
    fn runs_without_vote(&self, server: &str) -> bool {
        let Some((set, servers)) = self.situation.set_of(server) else { return false };
        let Some(pod) = servers.pod(server).filter(|pod| pod.state == PodState::Stuck) else { return false };
        let has_none = |id: &GroupId| {
            let members = self.situation.members.get(id).filter(|members| members.leader.is_some());
            members.is_some_and(|members| members.voters.values().all(|on| on != server))
        };
        placement::hosted_by(&self.situation.resolved.spec, set, pod.ordinal).iter().all(has_none)
    }

    /// Returns a server that isn't ready, isn't lost, and isn't one that only waits for its group.
    fn away(&self) -> Option<String> {
        self.situation.servers.iter().find_map(|(set, servers)| {
            let staying = 0..servers.replicas().min(self.wanted(*set));
            let mut names = staying.map(|ordinal| self.situation.resolved.names.server(*set, ordinal));
            names.find(|server| {
                !self.causes.contains_key(server)
                    && !servers.pod(server).is_some_and(ServerPod::is_ready)
                    && !self.runs_without_vote(server)
            })
        })
    }

    /// Returns the replacements of the last hour with this one, if the budget allows it.
    fn history(&self, pod: &ServerPod) -> Result<Vec<ReplacedServer>, String> {
        let most = self.situation.resolved.spec.replacement.max_per_hour as usize;
        let recent = self.status.replaced.iter().filter(|past| self.now.duration_since(past.at.0) < HOUR);
        let mut history: Vec<ReplacedServer> = recent.cloned().collect();
        // The step was recorded, and perhaps not carried out.
        if history.iter().any(|past| past.uid == pod.uid) {
            return Ok(history);
        }
        if let Some(first) = history.len().checked_sub(most).and_then(|at| history.get(at)) {
            let next = clock(later(first.at.0, HOUR));
            return Err(format!("the budget of {most} within an hour is spent: the next at {next}"));
        }
        let (server, uid) = (pod.name.clone(), pod.uid.clone());
        history.push(ReplacedServer { server, uid, at: Time(self.now) });
        Ok(history)
    }
}

fn later(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Returns a time as people read it in messages that must not change while they hold.
fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M UTC").to_string()
}

#[cfg(test)]
mod tests;
