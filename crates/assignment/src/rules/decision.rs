//! The outcome of a registration: the plan for the replica, and the next record. Pure.

use std::fmt;

use skv_sharding::{ClusterId, GroupId, MapRevision, ReplicaId};

use super::registration::Plan;
use crate::record::Record;

/// The outcome of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The next record with the changes in it, if something durable changed. It must be stored before the
    /// plan is given out.
    pub change: Option<(Record, Vec<Event>)>,
    /// The map revision under which the plan is given; 0 without a record.
    pub revision: MapRevision,
    /// The record's cluster, if there is a record.
    pub cluster: Option<ClusterId>,
    /// The plan for the replica.
    pub plan: Plan,
}

/// The reason for which a record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The first record was made.
    Founded,
    /// All groups of the first record have begun.
    Begun,
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
    /// This number of shards has arrived in a group.
    Arrived(GroupId, usize),
    /// This number of moves out of a group have other epochs, since their targets had passed theirs.
    Renumbered(GroupId, usize),
    /// A group that reports itself retired no longer shares the shards.
    Leaves(GroupId),
    /// A group was removed from the record.
    Retired(GroupId),
}

impl Event {
    /// Returns true if the groups and their incarnations are as they were before.
    pub(super) fn leaves_groups_alone(&self) -> bool {
        match self {
            Event::Candidate(..)
            | Event::Address(..)
            | Event::Withdrawn(..)
            | Event::Arrived(..)
            | Event::Renumbered(..)
            | Event::Begun => true,
            Event::Founded
            | Event::Rebuilt
            | Event::Members(_)
            | Event::NewGroup(_)
            | Event::Leaves(_)
            | Event::Retired(_) => false,
        }
    }
}

impl Decision {
    /// Returns true if the plan holds no matter what another manager has written meanwhile.
    pub fn needs_no_store(&self) -> bool {
        self.change.is_none() && !matches!(self.plan, Plan::Wait { .. })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Founded => write!(f, "the first configuration was made"),
            Event::Begun => write!(f, "all groups of the first configuration have begun"),
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
            Event::Renumbered(group, moves) => {
                write!(
                    f,
                    "{moves} moves out of {group} have new epochs: their targets had passed the old ones"
                )
            }
            Event::Arrived(group, shards) => write!(f, "{shards} shards have arrived in {group}"),
        }
    }
}
