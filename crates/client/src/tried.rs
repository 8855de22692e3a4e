//! The words of a group's replicas about a call that none of them served, for people.

use std::fmt;

use skv_proto::Error;
use skv_sharding::GroupId;

use crate::transport::Failure;

/// The last word of each replica.
#[derive(Debug)]
pub(crate) struct Tried {
    group: GroupId,
    replicas: Vec<Replica>,
}

#[derive(Debug)]
struct Replica {
    name: String,
    address: String,
    said: String,
    was_reached: bool,
    /// The address of the leader that it names.
    leader: Option<String>,
}

impl Tried {
    /// Makes an empty one.
    pub(crate) fn new(group: GroupId) -> Tried {
        Tried { group, replicas: Vec::new() }
    }

    /// Notes the last word of a replica that didn't serve the call. Its server may have no name.
    pub(crate) fn failed(&mut self, server: &str, address: &str, failure: &Failure) {
        let name = if server.is_empty() { address.to_owned() } else { format!("{server} at {address}") };
        let leader = match failure {
            Failure::Answered(error) => match &**error {
                Error::NotLeader { leader, .. } => {
                    leader.as_ref().map(|leader| leader.client_address.clone())
                }
                _ => None,
            },
            Failure::NotSent(_) | Failure::Lost(_) | Failure::Overdue(_) => None,
        };
        let was_reached = !matches!(failure, Failure::NotSent(_));
        let said = describe(failure, address);
        self.replicas.retain(|replica| replica.address != address);
        self.replicas.push(Replica { name, address: address.to_owned(), said, was_reached, leader });
    }

    /// Returns true if nothing is known of any replica.
    pub(crate) fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    /// Returns true if any of them could be reached.
    pub(crate) fn one_was_reached(&self) -> bool {
        self.replicas.iter().any(|replica| replica.was_reached)
    }

    /// Returns true if several replicas were heard of, and none leads as far as they know.
    pub(crate) fn hear_no_leader(&self) -> bool {
        self.replicas.len() > 1 && !self.name_another()
    }

    /// Returns true if a replica names a leader that isn't among those that don't serve.
    fn name_another(&self) -> bool {
        let mut named = self.replicas.iter().filter_map(|replica| replica.leader.as_ref());
        named.any(|leader| !self.replicas.iter().any(|replica| replica.address == *leader))
    }

    /// Returns the last word of each.
    pub(crate) fn words(&self) -> String {
        let words = self.replicas.iter().map(|Replica { name, said, .. }| format!("{name} {said}"));
        words.collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no replica of group {} serves: {}", self.group, self.words())?;
        if self.name_another() {
            return Ok(());
        }
        write!(f, ": a majority of the group is needed; start the servers that don't run")
    }
}

fn describe(failure: &Failure, address: &str) -> String {
    // The replica that failed is named already.
    let reason = |why: &str| {
        let reason = why.strip_prefix(address).unwrap_or(why);
        reason.trim_start_matches([':', ' ']).to_owned()
    };
    match failure {
        Failure::NotSent(why) => format!("can't be reached ({})", reason(why)),
        Failure::Overdue(why) => reason(why),
        Failure::Lost(why) => format!("gave no answer ({})", reason(why)),
        Failure::Answered(error) => match &**error {
            Error::NotLeader { leader: None, .. } => "says that it hears no leader".to_owned(),
            Error::NotLeader { leader: Some(leader), .. } => format!("says that {} leads", leader.server),
            other => format!("says: {other}"),
        },
    }
}
