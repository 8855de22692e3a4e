//! A set of shards as a short text that a person can read: `0-238/2 240 250-260`.
//!
//! A run is `FIRST-LAST`, or `FIRST-LAST/STEP`; round robin and contiguous assignments
//! both take a single run, whatever the number of shards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ShardId;

/// The largest number of shards that a cluster may have.
pub const MAX_SHARDS: u32 = 65_536;

/// The length from which on a run is worth writing as one.
const SHORTEST_RUN: usize = 3;

/// Shards in ascending order, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardSet(Vec<ShardId>);

/// A text that isn't a set of shards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part:?} doesn't continue a set of shards, such as \"0-8/2 11\", in ascending order below {MAX_SHARDS}"
)]
pub struct ParseShardSetError {
    part: String,
}

impl ShardSet {
    /// Returns the shards in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.0.iter().copied()
    }

    /// Returns the number of shards.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if the set has no shards.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<ShardId> for ShardSet {
    fn from_iter<I: IntoIterator<Item = ShardId>>(shards: I) -> Self {
        let mut shards: Vec<ShardId> = shards.into_iter().collect();
        shards.sort_unstable();
        shards.dedup();
        ShardSet(shards)
    }
}

impl fmt::Display for ShardSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        while let [first, ..] = rest {
            if rest.len() < self.0.len() {
                f.write_str(" ")?;
            }
            let (length, step) = leading_run(rest);
            let last = rest[length - 1];
            match (length, step) {
                (1, _) => write!(f, "{first}")?,
                (_, 1) => write!(f, "{first}-{last}")?,
                _ => write!(f, "{first}-{last}/{step}")?,
            }
            rest = &rest[length..];
        }
        Ok(())
    }
}

/// Returns length and step of the run at the beginning of a list that isn't empty.
fn leading_run(shards: &[ShardId]) -> (usize, u32) {
    let [first, second, ..] = shards else { return (1, 1) };
    let step = second.0 - first.0;
    let length = 1 + shards.windows(2).take_while(|pair| pair[1].0 - pair[0].0 == step).count();
    if length < SHORTEST_RUN && step > 1 { (1, 1) } else { (length, step) }
}

impl FromStr for ShardSet {
    type Err = ParseShardSetError;

    fn from_str(text: &str) -> Result<Self, ParseShardSetError> {
        let mut shards = Vec::new();
        for part in text.split_ascii_whitespace() {
            let (first, last, step) = parse_run(part)
                .filter(|&(first, ..)| shards.last().is_none_or(|&ShardId(before)| before < first))
                .ok_or_else(|| ParseShardSetError { part: part.to_owned() })?;
            shards.extend((first..=last).step_by(step as usize).map(ShardId));
        }
        Ok(ShardSet(shards))
    }
}

fn parse_run(part: &str) -> Option<(u32, u32, u32)> {
    let (range, step) = part.split_once('/').unwrap_or((part, "1"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last, step) = (first.parse().ok()?, last.parse().ok()?, step.parse().ok()?);
    (first <= last && last < MAX_SHARDS && step > 0).then_some((first, last, step))
}

impl Serialize for ShardSet {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShardSet {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(shards: impl IntoIterator<Item = u32>) -> ShardSet {
        shards.into_iter().map(ShardId).collect()
    }

    #[test]
    fn usual_assignments_are_short() {
        assert_eq!(set((0..10_000).step_by(3)).to_string(), "0-9999/3");
        assert_eq!(set(0..10_000).to_string(), "0-9999");
        assert_eq!(set([]).to_string(), "");
        assert_eq!(set([7]).to_string(), "7");
        assert_eq!(set([1, 2, 9, 12, 15, 40]).to_string(), "1-2 9-15/3 40");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["x", "-", "1-", "3-1", "1-5/0", "0-65536", "4 4", "4 3", "0-4 2", "1,2"] {
            assert!(text.parse::<ShardSet>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn sets_are_read_as_they_are_written(shards in proptest::collection::vec(0u32..80, 0..60)) {
            let set = set(shards);
            prop_assert_eq!(set.to_string().parse(), Ok(set));
        }
    }
}
