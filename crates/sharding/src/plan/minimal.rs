//! [`Policy::Minimal`](super::Policy::Minimal): even first, then few moves.
//!
//! Loads that are as even as pins allow are those of water poured into vessels that are filled to
//! different heights already: every group ends at the level or one above it, and one whose pins alone
//! exceed that has its pins and nothing else. Only the choice of the groups with one more is open, and
//! each that has a shard above the level saves a move by it. Thus these come first.

use super::Place;

/// Returns the position of each shard's group. There must be groups.
pub(super) fn assign(places: &[Place], groups: usize) -> Vec<usize> {
    let mut pinned = vec![0; groups];
    let mut owned = vec![0; groups];
    for place in places {
        match *place {
            Place::Pinned(group) => pinned[group] += 1,
            Place::Owned(group) => owned[group] += 1,
            Place::Homeless => {}
        }
    }
    let level = level(&pinned, places.len());
    let most = most_to_keep(level, &pinned, &owned);

    let mut loads = pinned;
    let mut assigned: Vec<Option<usize>> = Vec::with_capacity(places.len());
    for place in places {
        assigned.push(match *place {
            Place::Pinned(group) => Some(group),
            Place::Owned(group) if loads[group] < most[group] => {
                loads[group] += 1;
                Some(group)
            }
            Place::Owned(_) | Place::Homeless => None,
        });
    }

    // Each shard goes to a group with the fewest, those that joined earlier first.
    let loads = &loads;
    let free = (0..=level.height).flat_map(|height| (0..groups).filter(move |&group| loads[group] <= height));
    for (position, group) in assigned.iter_mut().filter(|position| position.is_none()).zip(free) {
        *position = Some(group);
    }
    let assigned: Vec<usize> = assigned.into_iter().flatten().collect();
    debug_assert_eq!(assigned.len(), places.len(), "the water fills the vessels exactly");
    assigned
}

/// The height of the water.
#[derive(Clone, Copy)]
struct Level {
    /// The number of shards of each group whose pins don't exceed it.
    height: usize,
    /// The number of those groups that have one more.
    above: usize,
}

fn level(pinned: &[usize], shards: usize) -> Level {
    let mut descending = pinned.to_vec();
    descending.sort_unstable_by(|a, b| b.cmp(a));
    // A group whose pins exceed an equal share of the rest takes no part in sharing it. The last
    // group's never do, since pins are shards: so there is always one to divide by.
    let (mut rest, mut sharing) = (shards, pinned.len());
    for pins in descending {
        if pins <= rest / sharing {
            break;
        }
        rest -= pins;
        sharing -= 1;
    }
    Level { height: rest / sharing, above: rest % sharing }
}

/// Returns the load, pins included, up to which each group may keep shards that it owns.
fn most_to_keep(level: Level, pinned: &[usize], owned: &[usize]) -> Vec<usize> {
    let mut above = level.above;
    let most = |(&pinned, &owned): (&usize, &usize)| {
        let keeps_one_more = above > 0 && pinned <= level.height && pinned + owned > level.height;
        above -= usize::from(keeps_one_more);
        level.height + usize::from(keeps_one_more)
    };
    pinned.iter().zip(owned).map(most).collect()
}
