//! The ring: N servers, N groups, and the replicas of group i on servers i to i + R - 1,
//! counted around the ring.
//!
//! This is the placement of Dynamo (DeCandia et al., SOSP 2007, section 4.2 and 4.3) with one token for
//! each server. All code that starts servers, hosts replicas or looks after them uses this one.

use std::fmt;
use std::str::FromStr;

use crate::GroupId;

/// A ring of servers; written `N,R`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    servers: u32,
    replicas: u32,
}

/// The reason for which a ring is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// Each replica of a group needs a server of its own, and a group at least one.
    #[error("a ring of {servers} servers holds 1 to {servers} replicas of each group, not {replicas}")]
    Replicas {
        /// The number of servers.
        servers: u32,
        /// The number of replicas of each group.
        replicas: u32,
    },
    /// The text isn't two numbers.
    #[error("{0:?} is no ring: write SERVERS,REPLICAS, such as 5,3")]
    Text(String),
}

impl Ring {
    /// Returns a ring of this many servers and groups, each group with this many replicas.
    pub fn new(servers: u32, replicas: u32) -> Result<Ring, RingError> {
        if (1..=servers).contains(&replicas) {
            Ok(Ring { servers, replicas })
        } else {
            Err(RingError::Replicas { servers, replicas })
        }
    }

    /// Returns the number of servers, which is that of groups.
    pub fn servers(self) -> u32 {
        self.servers
    }

    /// Returns the number of replicas that each group has, and each server hosts.
    pub fn replicas(self) -> u32 {
        self.replicas
    }

    /// Returns all groups.
    pub fn groups(self) -> impl Iterator<Item = GroupId> {
        (0..self.servers).map(GroupId)
    }

    /// Returns the servers that hold the replicas of a group: its own first, then the next ones.
    pub fn servers_of(self, group: GroupId) -> impl Iterator<Item = u32> {
        (0..self.replicas).map(move |step| self.around(u64::from(group.0) + u64::from(step)))
    }

    /// Returns the groups of which a server holds a replica: its own first, then those before it.
    pub fn groups_of(self, server: u32) -> impl Iterator<Item = GroupId> {
        let back = u64::from(self.servers) + u64::from(server);
        (0..self.replicas).map(move |step| GroupId(self.around(back - u64::from(step))))
    }

    fn around(self, place: u64) -> u32 {
        (place % u64::from(self.servers)) as u32
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.servers, self.replicas)
    }
}

impl FromStr for Ring {
    type Err = RingError;

    fn from_str(text: &str) -> Result<Ring, RingError> {
        let numbers = text
            .split_once(',')
            .and_then(|(servers, replicas)| Some((servers.parse().ok()?, replicas.parse().ok()?)));
        let (servers, replicas) = numbers.ok_or_else(|| RingError::Text(text.to_owned()))?;
        Ring::new(servers, replicas)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn servers(ring: Ring, group: u32) -> Vec<u32> {
        ring.servers_of(GroupId(group)).collect()
    }

    fn groups(ring: Ring, server: u32) -> Vec<u32> {
        ring.groups_of(server).map(|group| group.0).collect()
    }

    #[test]
    fn a_group_is_on_its_server_and_the_next_ones_around_the_ring() {
        let ring = Ring::new(5, 3).unwrap();
        assert_eq!(servers(ring, 0), [0, 1, 2]);
        assert_eq!(servers(ring, 3), [3, 4, 0]);
        assert_eq!(groups(ring, 0), [0, 4, 3]);
        assert_eq!(groups(ring, 4), [4, 3, 2]);
    }

    #[test]
    fn a_ring_is_read_as_it_is_written() {
        let ring = Ring::new(5, 3).unwrap();
        assert_eq!(ring.to_string(), "5,3");
        assert_eq!("5,3".parse(), Ok(ring));
        for text in ["", "5", "5,", ",3", "5,3,1", "a,b", "5,-3", "3,4", "3,0", "0,0"] {
            assert!(text.parse::<Ring>().is_err(), "{text}");
        }
        let message = Ring::new(3, 4).unwrap_err().to_string();
        assert_eq!(message, "a ring of 3 servers holds 1 to 3 replicas of each group, not 4");
    }

    proptest! {
        /// The rule as it is stated, word for word: group i on servers i to i + R - 1, mod N.
        #[test]
        fn both_directions_say_the_same_and_every_server_holds_as_many(
            (servers, replicas) in (1u32..60).prop_flat_map(|servers| (Just(servers), 1..=servers))
        ) {
            let ring = Ring::new(servers, replicas).unwrap();
            prop_assert_eq!(ring.groups().count(), servers as usize);
            for group in ring.groups() {
                let expected: Vec<u32> = (group.0..group.0 + replicas).map(|i| i % servers).collect();
                prop_assert_eq!(ring.servers_of(group).collect::<Vec<_>>(), expected);
            }
            for server in 0..servers {
                let hosted: std::collections::BTreeSet<GroupId> = ring.groups_of(server).collect();
                prop_assert_eq!(hosted.len(), replicas as usize);
                for group in ring.groups() {
                    let holds = ring.servers_of(group).any(|holder| holder == server);
                    prop_assert_eq!(holds, hosted.contains(&group));
                }
            }
        }
    }
}
