//! What the replicas of a group said to a call that none of them served, for people.

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
    said: String,
    was_reached: bool,
    names_leader: bool,
}

impl Tried {
    /// Nobody has said anything yet.
    pub(crate) fn new(group: GroupId) -> Tried {
        Tried { group, replicas: Vec::new() }
    }

    /// A replica didn't serve the call. Its server may have no name.
    pub(crate) fn failed(&mut self, server: &str, address: &str, failure: &Failure) {
        let name = if server.is_empty() { address.to_owned() } else { format!("{server} at {address}") };
        let names_leader = matches!(failure, Failure::Answered(error)
            if matches!(**error, Error::NotLeader { leader: Some(_), .. }));
        let was_reached = !matches!(failure, Failure::NotSent(_));
        let said = describe(failure, address);
        self.replicas.push(Replica { name, said, was_reached, names_leader });
    }

    /// Whether nothing is known of any replica.
    pub(crate) fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    /// Whether one of them could be reached.
    pub(crate) fn one_was_reached(&self) -> bool {
        self.replicas.iter().any(|replica| replica.was_reached)
    }

    /// Whether several replicas are spoken of, and nobody knows a leader.
    pub(crate) fn hear_no_leader(&self) -> bool {
        self.replicas.len() > 1 && !self.replicas.iter().any(|replica| replica.names_leader)
    }

    /// What each of them said.
    pub(crate) fn words(&self) -> String {
        let words = self.replicas.iter().map(|Replica { name, said, .. }| format!("{name} {said}"));
        words.collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no replica of group {} serves: {}", self.group, self.words())?;
        if self.replicas.iter().any(|replica| replica.names_leader) {
            return Ok(());
        }
        write!(f, ": a majority of the group is needed; start the servers that don't run")
    }
}

fn describe(failure: &Failure, address: &str) -> String {
    // Whoever failed is named already.
    let reason = |why: &str| {
        let reason = why.strip_prefix(address).unwrap_or(why);
        reason.trim_start_matches([':', ' ']).to_owned()
    };
    match failure {
        Failure::NotSent(why) => format!("can't be reached ({})", reason(why)),
        Failure::Lost(why) if why.ends_with("did not answer in time") => reason(why),
        Failure::Lost(why) => format!("gave no answer ({})", reason(why)),
        Failure::Answered(error) => match &**error {
            Error::NotLeader { leader: None, .. } => "says that it hears no leader".to_owned(),
            Error::NotLeader { leader: Some(leader), .. } => format!("says that {} leads", leader.server),
            other => format!("says: {other}"),
        },
    }
}
