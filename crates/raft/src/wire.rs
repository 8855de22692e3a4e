//! The translation between openraft's types and the messages that carry them: log entries on disk and
//! between replicas, votes and memberships.

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;
use openraft::vote::RaftLeaderId as _;
use skv_proto::v1;
use skv_proto::v1::log_entry::Payload;
use skv_sharding::{COUNT_LIMIT, ReplicaId};

use crate::types::{EncodedEntry, LeaderId, LogEntry, LogId, Membership, ServerName, StoredMembership, Vote};

/// A message that lacks a part, or is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field that every sender of this version sets.
    #[error("a {message} came without its {field}; the sender speaks another version")]
    Missing {
        /// The message's name.
        message: &'static str,
        /// The absent field.
        field: &'static str,
    },
    /// A number that no counter may reach: counting on from it would come to the end of the type.
    #[error("there is no {0} {1}")]
    Count(&'static str, u64),
    /// Voters without a server name, or an empty set of voters.
    #[error("the membership is invalid: {0}")]
    Membership(String),
}

/// A type of openraft's and the message that stands for it.
pub trait Wire: Sized {
    /// The message.
    type Message;

    /// Returns it as a message; payloads are shared, not copied.
    fn to_wire(&self) -> Self::Message;

    /// Reads a message that a peer sent or that was read from disk.
    fn from_wire(message: Self::Message) -> Result<Self, WireError>;
}

fn counted(what: &'static str, number: u64) -> Result<u64, WireError> {
    if number < COUNT_LIMIT { Ok(number) } else { Err(WireError::Count(what, number)) }
}

impl Wire for LogId {
    type Message = v1::LogId;

    fn to_wire(&self) -> v1::LogId {
        v1::LogId { term: self.leader_id.term, replica: self.leader_id.node_id.0, index: self.index }
    }

    fn from_wire(m: v1::LogId) -> Result<Self, WireError> {
        let leader_id = LeaderId::new(counted("term", m.term)?, ReplicaId(m.replica));
        Ok(LogId { leader_id, index: counted("index", m.index)? })
    }
}

impl Wire for Vote {
    type Message = v1::RaftVote;

    fn to_wire(&self) -> v1::RaftVote {
        v1::RaftVote {
            term: self.leader_id.term,
            replica: self.leader_id.node_id.0,
            committed: self.committed,
        }
    }

    fn from_wire(m: v1::RaftVote) -> Result<Self, WireError> {
        let leader_id = LeaderId::new(counted("term", m.term)?, ReplicaId(m.replica));
        Ok(Vote { leader_id, committed: m.committed })
    }
}

impl Wire for Membership {
    type Message = v1::Membership;

    fn to_wire(&self) -> v1::Membership {
        let voters = |set: &BTreeSet<ReplicaId>| v1::membership::VoterSet {
            replicas: set.iter().map(|id| id.0).collect(),
        };
        let member = |(id, name): (&ReplicaId, &ServerName)| v1::membership::Member {
            replica: id.0,
            server: name.0.clone(),
        };
        v1::Membership {
            configs: self.get_joint_config().iter().map(voters).collect(),
            members: self.nodes().map(member).collect(),
        }
    }

    fn from_wire(m: v1::Membership) -> Result<Self, WireError> {
        let configs =
            m.configs.into_iter().map(|set| set.replicas.into_iter().map(ReplicaId).collect()).collect();
        let members: BTreeMap<ReplicaId, ServerName> =
            m.members.into_iter().map(|m| (ReplicaId(m.replica), ServerName(m.server))).collect();
        Membership::new(configs, members).map_err(|e| WireError::Membership(e.to_string()))
    }
}

impl Wire for StoredMembership {
    type Message = v1::StoredMembership;

    fn to_wire(&self) -> v1::StoredMembership {
        v1::StoredMembership {
            log_id: self.log_id().as_ref().map(Wire::to_wire),
            membership: Some(self.membership().to_wire()),
        }
    }

    fn from_wire(m: v1::StoredMembership) -> Result<Self, WireError> {
        let missing = WireError::Missing { message: "stored membership", field: "membership" };
        let membership = Membership::from_wire(m.membership.ok_or(missing)?)?;
        Ok(StoredMembership::new(m.log_id.map(LogId::from_wire).transpose()?, membership))
    }
}

impl Wire for LogEntry {
    type Message = v1::LogEntry;

    fn to_wire(&self) -> v1::LogEntry {
        let payload = match &self.payload {
            EntryPayload::Blank => Payload::Blank(v1::log_entry::Blank {}),
            EntryPayload::Normal(EncodedEntry(bytes)) => Payload::Normal(bytes.clone()),
            EntryPayload::Membership(m) => Payload::Membership(m.to_wire()),
        };
        v1::LogEntry { log_id: Some(self.log_id.to_wire()), payload: Some(payload) }
    }

    fn from_wire(m: v1::LogEntry) -> Result<Self, WireError> {
        let missing = |field| WireError::Missing { message: "log entry", field };
        let log_id = LogId::from_wire(m.log_id.ok_or(missing("log id"))?)?;
        // A payload of a later version decodes as none: it mustn't pass for a blank one.
        let payload = match m.payload.ok_or(missing("payload"))? {
            Payload::Blank(_) => EntryPayload::Blank,
            Payload::Normal(bytes) => EntryPayload::Normal(EncodedEntry(bytes)),
            Payload::Membership(m) => EntryPayload::Membership(Membership::from_wire(m)?),
        };
        Ok(LogEntry { log_id, payload })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn log_id(term: u64, replica: u64, index: u64) -> LogId {
        LogId { leader_id: LeaderId::new(term, ReplicaId(replica)), index }
    }

    fn joint() -> Membership {
        let set = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect::<BTreeSet<_>>();
        let names: BTreeMap<_, _> =
            [1, 2, 3, 4].map(|id| (ReplicaId(id), ServerName(format!("kv-{id}")))).into_iter().collect();
        Membership::new(vec![set(&[1, 2, 3]), set(&[1, 2])], names).unwrap()
    }

    #[test]
    fn everything_survives_the_wire() {
        let vote = Vote { leader_id: LeaderId::new(3, ReplicaId(9)), committed: true };
        assert_eq!(Vote::from_wire(vote.to_wire()), Ok(vote));

        for membership in [joint(), Membership::default()] {
            let stored = StoredMembership::new(Some(log_id(1, 2, 3)), membership);
            assert_eq!(StoredMembership::from_wire(stored.to_wire()), Ok(stored));
        }

        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(EncodedEntry(Bytes::from_static(b"x"))),
            EntryPayload::Membership(joint()),
        ];
        for payload in payloads {
            let entry = LogEntry { log_id: log_id(4, 5, 6), payload };
            assert_eq!(LogEntry::from_wire(entry.to_wire()), Ok(entry));
        }
    }

    #[test]
    fn nothing_counts_up_to_the_end() {
        for number in [COUNT_LIMIT, u64::MAX] {
            let term = v1::LogId { term: number, replica: 1, index: 1 };
            assert_eq!(LogId::from_wire(term), Err(WireError::Count("term", number)));
            let index = v1::LogId { term: 1, replica: 1, index: number };
            assert_eq!(LogId::from_wire(index), Err(WireError::Count("index", number)));
            let vote = v1::RaftVote { term: number, replica: 1, committed: true };
            assert_eq!(Vote::from_wire(vote), Err(WireError::Count("term", number)));
        }
    }

    #[test]
    fn half_a_message_is_refused() {
        assert!(LogEntry::from_wire(v1::LogEntry::default()).is_err());
        let unknown = v1::LogEntry { log_id: Some(log_id(1, 2, 3).to_wire()), payload: None };
        assert!(LogEntry::from_wire(unknown).is_err());
        assert!(StoredMembership::from_wire(v1::StoredMembership::default()).is_err());
        let nobody = v1::Membership { configs: vec![v1::membership::VoterSet::default()], members: vec![] };
        assert!(Membership::from_wire(nobody).is_err());
    }
}
