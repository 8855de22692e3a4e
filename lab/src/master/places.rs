//! The places of servers. Pure.
//!
//! A place is the number of a group. Servers whose groups are founded stand in the master's record;
//! this module has those that were promised a number and aren't there yet.

use std::collections::BTreeMap;
use std::time::Duration;

use skv_sharding::GroupId;
use tokio::time::Instant;

use crate::{MOST_SERVERS, Port};

/// The silence after which a server that has nothing yet has given its place up.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// The servers whose groups are founded.
pub(super) type Founded = BTreeMap<Port, GroupId>;

/// There is no place for one more server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are {MOST_SERVERS} servers already, and no place for one more: {} shards can't be shared evenly by {}",
    crate::SHARDS,
    MOST_SERVERS + 1
)]
pub(super) struct Full;

/// The places of servers whose groups aren't founded yet.
#[derive(Debug, Default)]
pub(super) struct Places {
    promised: BTreeMap<Port, Promise>,
}

#[derive(Debug)]
struct Promise {
    group: GroupId,
    heard: Instant,
}

impl Places {
    /// Returns the place of the server at a port, which gets one now if it has none.
    pub(super) fn place(&mut self, founded: &Founded, port: Port, now: Instant) -> Result<GroupId, Full> {
        self.forget(founded, now);
        if let Some(group) = founded.get(&port) {
            return Ok(*group);
        }
        let own = self.promised.remove(&port).map(|promise| promise.group);
        let is_free = |group: &GroupId| {
            !founded.values().any(|taken| taken == group)
                && !self.promised.values().any(|promise| promise.group == *group)
        };
        let first = GroupId(0);
        let group = match own {
            // There is no cluster before there is the first group: one server must found it.
            Some(own) if !is_free(&first) || own == first => own,
            _ => (0..MOST_SERVERS).map(GroupId).find(is_free).ok_or(Full)?,
        };
        self.promised.insert(port, Promise { group, heard: now });
        Ok(group)
    }

    /// Returns true if a server has a place and isn't there yet.
    pub(super) fn is_waiting(&mut self, founded: &Founded, now: Instant) -> bool {
        self.forget(founded, now);
        !self.promised.is_empty()
    }

    fn forget(&mut self, founded: &Founded, now: Instant) {
        self.promised.retain(|port, promise| {
            !founded.contains_key(port) && now.duration_since(promise.heard) < GIVEN_UP
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn founded(servers: &[(u16, u32)]) -> Founded {
        servers.iter().map(|(number, group)| (port(*number), GroupId(*group))).collect()
    }

    #[test]
    fn servers_are_numbered_as_they_come_and_keep_their_numbers() {
        let (mut places, none, now) = (Places::default(), Founded::new(), Instant::now());
        assert_eq!(places.place(&none, port(5), now), Ok(GroupId(0)));
        assert_eq!(places.place(&none, port(3), now), Ok(GroupId(1)));
        assert_eq!(places.place(&none, port(5), now), Ok(GroupId(0)));
        assert!(places.is_waiting(&none, now));
        let both = founded(&[(5, 0), (3, 1)]);
        assert!(!places.is_waiting(&both, now));
        let later = now + 2 * GIVEN_UP;
        assert_eq!(places.place(&both, port(3), later), Ok(GroupId(1)));
        assert_eq!(places.place(&both, port(4), later), Ok(GroupId(2)));
    }

    #[test]
    fn the_eleventh_is_refused_until_somebody_who_has_nothing_is_gone() {
        let (mut places, now) = (Places::default(), Instant::now());
        let nine: Vec<(u16, u32)> = (0..9).map(|n| (100 + n, u32::from(n))).collect();
        let nine = founded(&nine);
        assert_eq!(places.place(&nine, port(1), now), Ok(GroupId(9)));
        assert_eq!(places.place(&nine, port(2), now), Err(Full));
        assert_eq!(places.place(&nine, port(2), now + GIVEN_UP), Ok(GroupId(9)));
    }

    #[test]
    fn the_first_place_does_not_stay_empty() {
        let (mut places, none, now) = (Places::default(), Founded::new(), Instant::now());
        places.place(&none, port(1), now).unwrap();
        assert_eq!(places.place(&none, port(2), now + GIVEN_UP / 2), Ok(GroupId(1)));
        assert_eq!(places.place(&none, port(2), now + GIVEN_UP), Ok(GroupId(0)));
    }
}
