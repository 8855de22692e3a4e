//! The types that openraft's generic parts stand for here.

use std::fmt;

use bytes::Bytes;
use openraft::impls::OneshotResponder;
use openraft::vote::RaftLeaderId;
use openraft::{OptionalSend, RaftTypeConfig};
use skv_sharding::ReplicaId;
use skv_store::Applied;

use crate::runtime::Runtime;

/// An encoded [`skv_proto::v1::Entry`]: made once by the leader, then written, sent and
/// applied as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedEntry(pub Bytes);

impl fmt::Debug for EncodedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for EncodedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The name of the server (pod) that holds a replica. Its addresses are resolved when dialling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerName(pub String);

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The types of our Raft groups.
#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = EncodedEntry;
    type R = Applied;
    type NodeId = ReplicaId;
    type Node = ServerName;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, ReplicaId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<EncodedEntry, ReplicaId, ServerName>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// A position in the log.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// A log entry.
pub type LogEntry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// A vote.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// A leader's term and id.
pub type LeaderId = openraft::type_config::alias::LeaderIdOf<TypeConfig>;
/// Voters and learners.
pub type Membership = openraft::Membership<ReplicaId, ServerName>;
/// A membership and the entry that set it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// The position and the membership that a snapshot covers.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
/// Entries that a leader sends.
pub type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;

/// Returns the leader of a term as entries name it.
pub fn leader(term: u64, id: ReplicaId) -> LeaderId {
    LeaderId::new(term, id)
}
