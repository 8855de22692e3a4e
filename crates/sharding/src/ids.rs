//! The names of things, each with a type of its own so that none is taken for another.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that isn't the name of a group, or not 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

/// The limit of all counts. A number from elsewhere that reaches it is no count: a program that took it
/// for one would come to the end of the type when counting on.
pub const COUNT_LIMIT: u64 = 1 << 62;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Random; 0 stands for "none" on the wire and is never given out. Written as
        /// 16 hexadecimal digits.
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl From<u64> for $name {
            fn from(id: u64) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = || ParseIdError { text: text.to_owned(), expected: "an id of 16 hexadecimal digits" };
                if text.len() != 16 {
                    return Err(error());
                }
                u64::from_str_radix(text, 16).map(Self).map_err(|_| error())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

number! {
    /// The number of a shard: one of the fixed number of slots that keys hash to; counted from 0.
    ShardId(u32)
}
number! {
    /// The number of a shard's ownership, higher with each handoff. Of two claims on a shard the higher
    /// epoch is newer.
    Epoch(u64)
}
number! {
    /// The number of requests applied to a shard; a key has that of its last mutation.
    /// 0 = no such key.
    Revision(u64)
}
number! {
    /// The number of changes of the shard map.
    MapRevision(u64)
}
number! {
    /// The life of a group; raised each time it is revived without its majority.
    Incarnation(u32)
}

/// The largest step from one incarnation to the next.
const WIDEST_STEP: u64 = 1 << 20;

impl Incarnation {
    /// Returns the next incarnation. The step is drawn by chance, so that two replicas which are made
    /// the whole group from the same incarnation, each unknown to the other, begin different ones: of
    /// these the one that a shard manager records is the group, and the other one ends.
    #[must_use]
    pub fn next(self, random: u64) -> Incarnation {
        let step = 1 + random % WIDEST_STEP;
        Incarnation(self.0.saturating_add(step as u32))
    }
}

random_id! {
    /// The identity of a whole `ShardedKV`: everything under one shard manager.
    ClusterId
}
random_id! {
    /// The identity of a group, for as long as it lives. A group made again under the same number has
    /// another one.
    GroupUid
}
random_id! {
    /// The identity of one replica's data directory.
    ReplicaId
}

/// The number by which people name a group; written `g0`, `g1`, ...
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub u32);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

impl FromStr for GroupId {
    type Err = ParseIdError;

    /// Reads `g3`, and `3`.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let digits = text.strip_prefix('g').unwrap_or(text);
        digits.parse().map(GroupId).map_err(|_: ParseIntError| ParseIdError {
            text: text.to_owned(),
            expected: "a group, such as g0",
        })
    }
}

impl GroupId {
    /// Returns several groups as a text for people: `g1, g2`.
    pub fn list<'a>(groups: impl IntoIterator<Item = &'a GroupId>) -> String {
        groups.into_iter().map(GroupId::to_string).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = ReplicaId(0x00ab_cdef_0000_0001);
        assert_eq!(id.to_string(), "00abcdef00000001");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::from_str::<ReplicaId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        assert_eq!("g12".parse(), Ok(GroupId(12)));
        assert_eq!("12".parse(), Ok(GroupId(12)));
    }

    #[test]
    fn an_incarnation_has_many_next_ones_and_all_are_higher() {
        let before = Incarnation(7);
        assert_eq!(before.next(0), Incarnation(8));
        assert_ne!(before.next(1), before.next(2));
        assert!([0, 1, WIDEST_STEP, u64::MAX].iter().all(|&random| before.next(random) > before));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "1", "00abcdef0000000g", "00abcdef000000011"] {
            assert!(text.parse::<ReplicaId>().is_err(), "{text}");
        }
        for text in ["", "g", "gg1", "-1", "group1"] {
            assert!(text.parse::<GroupId>().is_err(), "{text}");
        }
    }
}
