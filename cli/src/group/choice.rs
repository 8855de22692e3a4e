//! The replica that a lost group is revived from, if it is lost.

use anyhow::{Context as _, bail};
use skv_proto::v1;
use skv_proto::v1::ReplicaState;
use skv_sharding::{GroupId, Incarnation};

use super::members::named;
use super::survivors::progress;
use crate::admin::Member;

/// The replica to revive a group from.
pub(super) enum Choice<'a> {
    /// This one.
    Replica(&'a Member),
    /// None yet, for this reason: some seconds later more is known.
    NotYet(String),
}

/// Returns the replica to revive a group from, if there is a reason to.
pub(super) fn chosen<'a>(
    group: GroupId,
    members: &'a [Member],
    newest: u32,
    from: Option<&str>,
) -> anyhow::Result<Choice<'a>> {
    let is_of_newest =
        |member: &&Member| member.status.as_ref().is_ok_and(|status| status.incarnation == newest);
    let leading = members.iter().filter(is_of_newest).filter(|member| member.leads_a_quorum());
    if let Some(leader) = leading.min_by_key(|member| is_unsure(member)) {
        if is_unsure(leader) {
            return Ok(Choice::NotYet(unsure(group, leader)));
        }
        bail!("{group} needs no reset: {} leads it and reaches a majority", leader.replica.server);
    }
    let from = from.map(|name| named(members, name)).transpose()?;
    let reviving = members.iter().find(|member| is_reviving(member));
    if let (Some(from), Some(reviving)) = (from, reviving)
        && from.replica.server != reviving.replica.server
    {
        bail!(
            "{group} is being revived from {} already, and would be two groups with {}: wait for the end of that",
            reviving.replica.server,
            from.replica.server
        );
    }
    let chosen = match (from.or(reviving), members.iter().find(|member| is_opening(member))) {
        (Some(member), _) => member,
        (None, Some(opening)) => {
            return Ok(Choice::NotYet(format!(
                "{} answers, and hasn't opened its files yet: nobody knows what it has, and only --from chooses \
                 without it",
                opening.replica.server
            )));
        }
        (None, None) => {
            let most_advanced = members.iter().max_by_key(|member| progress(member));
            most_advanced.context("the group has no replica")?
        }
    };
    let name = &chosen.replica.server;
    let status = chosen.status.as_ref().map_err(|error| anyhow::anyhow!("{name}: {error:#}"))?;
    if status.group_uid != 0 && status.incarnation < newest {
        bail!(
            "{name} has {group} as it was in incarnation {}; it was revived since, as incarnation {}: revive it from \
             a replica of that one",
            Incarnation(status.incarnation),
            Incarnation(newest)
        );
    }
    if is_unsure(chosen) {
        return Ok(Choice::NotYet(unsure(group, chosen)));
    }
    Ok(Choice::Replica(chosen))
}

fn unsure(group: GroupId, member: &Member) -> String {
    format!("{} doesn't know yet whether {group} has lost its majority", member.replica.server)
}

/// Returns true if a replica has heard of no majority, and has led or run for too short a time to miss it.
fn is_unsure(member: &Member) -> bool {
    let takes_part = |status: &v1::ReplicaStatus| {
        matches!(status.state(), ReplicaState::Leader | ReplicaState::Candidate | ReplicaState::Follower)
    };
    let status = member.status.as_ref();
    status.is_ok_and(|status| takes_part(status) && !status.ready && status.quorum_lost_ms == 0)
}

/// Returns true if a replica becomes the whole group already.
fn is_reviving(member: &Member) -> bool {
    member.status.as_ref().is_ok_and(|status| status.reset.is_some())
}

/// Returns true if a replica has just started: it may have the newest log, and may be about to go on with a reset.
fn is_opening(member: &Member) -> bool {
    member.status.as_ref().is_ok_and(|s| s.state() == ReplicaState::Waiting && s.replica == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the replica of this number that runs on the server `kv-<number>`, whose status is changed so.
    fn member(number: u64, change: impl FnOnce(&mut v1::ReplicaStatus)) -> Member {
        let mut status = v1::ReplicaStatus { replica: number, group_uid: 7, ..Default::default() };
        status.set_state(ReplicaState::Follower);
        status.last_log = Some(v1::LogId { term: 1, replica: 1, index: number });
        change(&mut status);
        let replica = v1::Replica { id: number, server: format!("kv-{number}"), ..Default::default() };
        Member { group: GroupId(0), replica, status: Ok(status) }
    }

    fn gone(number: u64) -> Member {
        Member { status: Err(anyhow::anyhow!("connection refused")), ..member(number, |_| {}) }
    }

    /// Returns the server that is chosen, or the reason why none is.
    fn choose(members: &[Member]) -> Result<String, String> {
        match chosen(GroupId(0), members, 0, None) {
            Ok(Choice::Replica(member)) => Ok(member.replica.server.clone()),
            Ok(Choice::NotYet(reason)) => Err(format!("not yet: {reason}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_leader_is_believed_once_it_knows_whether_it_has_a_majority() {
        let leads = |change: fn(&mut v1::ReplicaStatus)| {
            let leader = member(1, |status| {
                status.set_state(ReplicaState::Leader);
                change(status);
            });
            choose(&[leader, gone(2), gone(3)])
        };
        let unsure = "not yet: kv-1 doesn't know yet whether g0 has lost its majority";
        assert_eq!(leads(|_| {}), Err(unsure.to_owned()));
        let held = "g0 needs no reset: kv-1 leads it and reaches a majority";
        assert_eq!(leads(|status| status.ready = true), Err(held.to_owned()));
        assert_eq!(leads(|status| status.quorum_lost_ms = 5000), Ok("kv-1".to_owned()));
    }

    #[test]
    fn a_survivor_that_has_just_started_may_yet_hear_of_a_leader() {
        let lost = |status: &mut v1::ReplicaStatus| status.quorum_lost_ms = 5000;
        assert_eq!(choose(&[gone(1), member(2, lost), gone(3)]), Ok("kv-2".to_owned()));
        let started = choose(&[gone(1), member(2, lost), member(3, |_| {})]);
        let unsure = "not yet: kv-3 doesn't know yet whether g0 has lost its majority";
        assert_eq!(started, Err(unsure.to_owned()));
    }
}
