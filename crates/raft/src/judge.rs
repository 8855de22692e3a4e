//! The rules for messages of other replicas. They are judged before openraft sees them: it trusts its
//! peers, and ends on a message that contradicts itself; and before anything is in the log that no
//! replica can apply.

use openraft::EntryPayload;
use openraft::raft::AppendEntriesRequest;
use skv_proto::Error;
use skv_sharding::ReplicaId;
use skv_store::ApplyError;

use super::types::{LogId, Membership, TypeConfig, Vote};

/// The highest number of a group's members, learners included.
const MOST_MEMBERS: usize = 64;
/// The longest name of a server.
const LONGEST_NAME: usize = 300;

/// Judges the vote of a leader, which must be the sender's own.
pub fn leader(vote: &Vote, from: ReplicaId, own: ReplicaId) -> Result<(), Error> {
    sender(vote, from, own)?;
    ensure(vote.committed, || format!("{vote} is no leader's vote"))
}

/// Judges the vote of a candidate, which must be the sender's own.
pub fn candidate(vote: &Vote, from: ReplicaId, own: ReplicaId) -> Result<(), Error> {
    sender(vote, from, own)?;
    ensure(!vote.committed, || format!("{vote} is no candidate's vote"))
}

/// Judges entries of a leader.
pub fn append(
    request: &AppendEntriesRequest<TypeConfig>,
    from: ReplicaId,
    own: ReplicaId,
) -> Result<(), Error> {
    leader(&request.vote, from, own)?;
    let mut last = request.prev_log_id;
    for entry in &request.entries {
        let id = entry.log_id;
        let follows = last.map_or(0, |last| last.index + 1) == id.index
            && last.is_none_or(|last| last.leader_id <= id.leader_id);
        ensure(follows, || format!("{id} can't follow {last:?}"))?;
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(payload) => {
                skv_store::readable(&payload.0).map_err(|error| match error {
                    ApplyError::UnsupportedVersion { .. } => Error::UnsupportedVersion(error.to_string()),
                    ApplyError::Corrupt(_) => Error::InvalidArgument(error.to_string()),
                })?
            }
            EntryPayload::Membership(members) => membership(members)?,
        }
        last = Some(id);
    }
    not_of_the_future(last.as_ref(), &request.vote)
}

/// Judges a leader's snapshot, for a replica that knows that entries up to `committed` are committed.
pub fn snapshot(last: Option<&LogId>, vote: &Vote, committed: Option<&LogId>) -> Result<(), Error> {
    not_of_the_future(last, vote)?;
    let contradicts = last > committed && last.map(|id| id.index) <= committed.map(|id| id.index);
    ensure(!contradicts, || format!("{last:?} contradicts what is committed, {committed:?}"))
}

fn sender(vote: &Vote, from: ReplicaId, own: ReplicaId) -> Result<(), Error> {
    let whose = vote.leader_id.node_id;
    ensure(whose == from, || format!("{from} speaks for {whose}"))?;
    ensure(whose != own, || format!("{own} doesn't speak to itself"))
}

fn not_of_the_future(last: Option<&LogId>, vote: &Vote) -> Result<(), Error> {
    let is_old = last.is_none_or(|last| last.leader_id <= vote.leader_id);
    ensure(is_old, || format!("{last:?} is of a later term than its leader, {vote}"))
}

fn membership(members: &Membership) -> Result<(), Error> {
    let fits = members.voter_ids().next().is_some()
        && members.nodes().count() <= MOST_MEMBERS
        && members.nodes().all(|(_, name)| name.0.len() <= LONGEST_NAME);
    ensure(fits, || "no group can have such members".to_owned())
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::InvalidArgument(otherwise())) }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bytes::Bytes;
    use openraft::vote::RaftLeaderId as _;

    use super::*;
    use crate::types::{EncodedEntry, LeaderId, LogEntry, ServerName};
    use skv_proto::v1;
    use skv_store::encode_tick;

    const OWN: ReplicaId = ReplicaId(1);
    const LEADER: ReplicaId = ReplicaId(2);

    fn vote(term: u64, replica: ReplicaId, committed: bool) -> Vote {
        Vote { leader_id: LeaderId::new(term, replica), committed }
    }

    fn id(term: u64, index: u64) -> LogId {
        LogId { leader_id: LeaderId::new(term, LEADER), index }
    }

    fn entry(term: u64, index: u64) -> LogEntry {
        LogEntry { log_id: id(term, index), payload: EntryPayload::Normal(EncodedEntry(encode_tick(1))) }
    }

    fn request(prev: Option<LogId>, entries: Vec<LogEntry>) -> AppendEntriesRequest<TypeConfig> {
        AppendEntriesRequest { vote: vote(5, LEADER, true), prev_log_id: prev, entries, leader_commit: None }
    }

    fn of(payload: EntryPayload<EncodedEntry, ReplicaId, ServerName>) -> LogEntry {
        LogEntry { payload, ..entry(5, 8) }
    }

    fn is_refused(result: &Result<(), Error>) -> bool {
        matches!(result, Err(Error::InvalidArgument(_)))
    }

    #[test]
    fn entries_follow_each_other_and_can_be_applied() {
        let good = |prev, entries| append(&request(prev, entries), LEADER, OWN);
        assert_eq!(good(None, vec![entry(0, 0), entry(5, 1)]), Ok(()));
        assert_eq!(good(Some(id(3, 7)), vec![entry(3, 8), entry(4, 9)]), Ok(()));
        assert_eq!(good(Some(id(3, 7)), Vec::new()), Ok(()));

        let after = Some(id(5, 7));
        let gaps = [vec![entry(5, 9)], vec![entry(5, 7)], vec![entry(5, 8), entry(5, 10)], vec![entry(4, 8)]];
        for entries in gaps.into_iter().chain([vec![entry(6, 8)]]) {
            assert!(is_refused(&good(after, entries.clone())), "{entries:?}");
        }
        assert!(is_refused(&good(None, vec![entry(5, 1)])));
        assert!(is_refused(&good(Some(id(6, 7)), Vec::new())));
        for bytes in [&b""[..], b"\x08\x01", b"\xff"] {
            let payload = EntryPayload::Normal(EncodedEntry(Bytes::from_static(bytes)));
            assert!(is_refused(&good(after, vec![of(payload)])), "{bytes:?}");
        }
        let nothing = skv_store::encode_batch(1, vec![v1::Command::default(); 200_000]);
        let refused = good(after, vec![of(EntryPayload::Normal(EncodedEntry(nothing)))]);
        assert!(
            matches!(&refused, Err(Error::InvalidArgument(text)) if text.contains("too many elements")),
            "{refused:?}"
        );
        let newer = EncodedEntry(Bytes::from_static(b"\x08\x63"));
        let refused = good(after, vec![of(EntryPayload::Normal(newer))]);
        assert!(matches!(refused, Err(Error::UnsupportedVersion(_))), "{refused:?}");
        let nobody = Membership::default();
        assert!(is_refused(&good(after, vec![of(EntryPayload::Membership(nobody))])));
        let voters = (0..100).map(ReplicaId).collect::<BTreeSet<_>>();
        let names: BTreeMap<_, _> = voters.iter().map(|id| (*id, ServerName::default())).collect();
        let many = Membership::new(vec![voters], names).unwrap();
        assert!(is_refused(&good(after, vec![of(EntryPayload::Membership(many))])));
    }

    #[test]
    fn each_speaks_for_itself() {
        assert_eq!(leader(&vote(5, LEADER, true), LEADER, OWN), Ok(()));
        assert_eq!(candidate(&vote(5, LEADER, false), LEADER, OWN), Ok(()));
        assert!(is_refused(&leader(&vote(5, LEADER, false), LEADER, OWN)));
        assert!(is_refused(&candidate(&vote(5, LEADER, true), LEADER, OWN)));
        assert!(is_refused(&leader(&vote(5, ReplicaId(3), true), LEADER, OWN)));
        assert!(is_refused(&leader(&vote(5, OWN, true), OWN, OWN)));
    }

    #[test]
    fn a_snapshot_contradicts_nothing() {
        let leader = vote(5, LEADER, true);
        assert_eq!(snapshot(Some(&id(5, 9)), &leader, Some(&id(4, 8))), Ok(()));
        assert_eq!(snapshot(Some(&id(4, 7)), &leader, Some(&id(4, 8))), Ok(()), "an old one changes nothing");
        assert_eq!(snapshot(None, &leader, None), Ok(()));
        assert!(is_refused(&snapshot(Some(&id(6, 9)), &leader, None)));
        assert!(is_refused(&snapshot(Some(&id(5, 8)), &leader, Some(&id(4, 8)))));
    }
}
