//! The planner: from the present places of the shards to the next configuration. That is as even as the pins
//! allow, and of those that are, the one with the fewest moves; unless the policy is modulo.
//!
//! It is a pure function of its arguments: two managers that plan at the same time, or one that plans
//! again after a crash, come to the same result on every platform. Sending and storing plans is decided
//! elsewhere.

mod minimal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{GroupId, ShardId};

/// The rule by which shards are spread over groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Assigns shards as evenly as the pins allow (without pins no two groups differ by more than one
    /// shard), with the fewest moves that lead there.
    ///
    /// A group that has too many keeps those with the lowest numbers, and shards that must go elsewhere go
    /// in ascending order to the group with the fewest. Thus the shards of a group stay a few regular
    /// runs, which are short to store and to read as a [`ShardSet`](crate::ShardSet), until many groups
    /// joined or left one by one. Of groups that are equal in everything else, the one that joined first
    /// has one shard more.
    #[default]
    Minimal,
    /// Assigns shard i to the (i mod G)th of the G groups, in the order in which they joined. It refuses a
    /// number of shards that G doesn't divide, and moves nearly everything when G changes.
    Modulo,
}

/// A text that isn't the name of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no policy: there are minimal and modulo")]
pub struct ParsePolicyError {
    text: String,
}

/// The input of the planner.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    /// The groups that will share the shards, in the order in which they joined. A group that is being
    /// drained isn't among them.
    pub groups: &'a [GroupId],
    /// The place or destination of each shard; `None`: it has none yet. May name groups that left.
    pub owners: &'a [Option<GroupId>],
    /// The shards that must be in a certain group, under every policy. They count as its load.
    pub pins: &'a BTreeMap<ShardId, GroupId>,
}

/// A layout for which there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The shards have no group to go to.
    #[error("no group is left to take the {shards} shards: add a group, or keep one that is to be removed")]
    NoGroups {
        /// The number of shards.
        shards: u32,
    },
    /// A group is listed more than once.
    #[error("{group} is listed more than once among the groups that share the shards: list it once")]
    DuplicateGroup {
        /// The group.
        group: GroupId,
    },
    /// A pin names a shard that doesn't exist.
    #[error(
        "shard {shard} is pinned to {group}, but there are {shards} shards, counted from 0: remove the pin"
    )]
    PinBeyondShards {
        /// The shard that doesn't exist.
        shard: ShardId,
        /// The group that it is pinned to.
        group: GroupId,
        /// The number of shards.
        shards: u32,
    },
    /// A pin names a group that isn't among those that share the shards.
    #[error(
        "shard {shard} is pinned to {group}, which isn't among the groups that share the shards: \
         remove the pin, change its group, or add {group} (or keep it)"
    )]
    PinToUnknownGroup {
        /// The pinned shard.
        shard: ShardId,
        /// The group.
        group: GroupId,
    },
    /// [`Policy::Modulo`] with a number of shards that the number of groups doesn't divide.
    #[error(
        "policy modulo needs a number of groups that divides the {shards} shards, and {groups} doesn't: \
         have {}, or use policy minimal", divisors_around(*groups, *shards)
    )]
    Indivisible {
        /// The number of shards.
        shards: u32,
        /// The number of groups.
        groups: u32,
    },
}

/// The place of a shard before the plan, with groups as positions in the order of joining.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// The shard must be there.
    Pinned(usize),
    /// The shard is there, and may stay.
    Owned(usize),
    /// The shard is nowhere, or in a group that left.
    Homeless,
}

/// Returns the group of each shard in the next configuration.
///
/// Time grows with the sum of shards and groups, not with their product. No shards need no groups.
pub fn plan(policy: Policy, layout: Layout<'_>) -> Result<Vec<GroupId>, PlanError> {
    let (shards, groups) = (layout.owners.len() as u32, layout.groups.len());
    let places = layout.places()?;
    if shards == 0 {
        return Ok(Vec::new());
    }
    if groups == 0 {
        return Err(PlanError::NoGroups { shards });
    }
    let positions = match policy {
        Policy::Minimal => minimal::assign(&places, groups),
        Policy::Modulo if places.len().is_multiple_of(groups) => modulo(&places, groups),
        Policy::Modulo => return Err(PlanError::Indivisible { shards, groups: groups as u32 }),
    };
    Ok(positions.into_iter().map(|position| layout.groups[position]).collect())
}

impl Layout<'_> {
    /// Checks groups and pins, and returns the place of each shard.
    fn places(&self) -> Result<Vec<Place>, PlanError> {
        let mut positions = BTreeMap::new();
        for (position, &group) in self.groups.iter().enumerate() {
            if positions.insert(group, position).is_some() {
                return Err(PlanError::DuplicateGroup { group });
            }
        }
        let owned = |owner: &Option<GroupId>| owner.and_then(|group| positions.get(&group).copied());
        let mut places: Vec<Place> =
            self.owners.iter().map(|owner| owned(owner).map_or(Place::Homeless, Place::Owned)).collect();
        for (&shard, &group) in self.pins {
            let place = places.get_mut(shard.0 as usize).ok_or(PlanError::PinBeyondShards {
                shard,
                group,
                shards: self.owners.len() as u32,
            })?;
            let position = positions.get(&group).ok_or(PlanError::PinToUnknownGroup { shard, group })?;
            *place = Place::Pinned(*position);
        }
        Ok(places)
    }
}

fn modulo(places: &[Place], groups: usize) -> Vec<usize> {
    let position = |(shard, place): (usize, &Place)| match *place {
        Place::Pinned(position) => position,
        Place::Owned(_) | Place::Homeless => shard % groups,
    };
    places.iter().enumerate().map(position).collect()
}

/// Returns the numbers of groups next to `groups` that divide the shards, as a text.
fn divisors_around(groups: u32, shards: u32) -> String {
    let divides = |groups: &u32| shards.is_multiple_of(*groups);
    let fewer = (1..groups).rev().find(divides);
    let more = (groups.saturating_add(1)..=shards).find(divides);
    let texts: Vec<String> = fewer.into_iter().chain(more).map(|n| n.to_string()).collect();
    texts.join(" or ")
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Minimal => "minimal",
            Policy::Modulo => "modulo",
        })
    }
}

impl FromStr for Policy {
    type Err = ParsePolicyError;

    fn from_str(text: &str) -> Result<Self, ParsePolicyError> {
        [Policy::Minimal, Policy::Modulo]
            .into_iter()
            .find(|policy| policy.to_string() == text)
            .ok_or_else(|| ParsePolicyError { text: text.to_owned() })
    }
}
