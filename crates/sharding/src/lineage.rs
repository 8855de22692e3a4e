//! The lives that a group had before its present one.

use serde::{Deserialize, Serialize};

use crate::Incarnation;

/// The number of remembered lives: no group is revived as often.
const REMEMBERED: usize = 64;

/// The incarnations that an incarnation came from, from the oldest to the newest.
///
/// Those before the first of these aren't known: an older version revived the group and kept no lineage,
/// or the group had more lives than are remembered. Every incarnation comes from the first one, 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lineage(Vec<Incarnation>);

impl Lineage {
    /// Makes a lineage of these incarnations; their order counts for nothing, since each is higher than those
    /// that it came from.
    pub fn new(ancestors: impl IntoIterator<Item = Incarnation>) -> Lineage {
        let mut ancestors: Vec<Incarnation> = ancestors.into_iter().collect();
        ancestors.sort_unstable();
        ancestors.dedup();
        ancestors.drain(..ancestors.len().saturating_sub(REMEMBERED));
        Lineage(ancestors)
    }

    /// Returns the lineage of an incarnation that comes from `parent`, whose lineage this is.
    #[must_use]
    pub fn followed_by(&self, parent: Incarnation) -> Lineage {
        Lineage::new(self.iter().chain([parent]))
    }

    /// Returns the known ancestors.
    pub fn iter(&self) -> impl Iterator<Item = Incarnation> {
        self.0.iter().copied()
    }

    /// Returns true if this incarnation is known to be an ancestor.
    pub fn includes(&self, incarnation: Incarnation) -> bool {
        incarnation == Incarnation(0) || self.0.contains(&incarnation)
    }

    /// Returns true if this incarnation is known to be no ancestor: it is a twin of one, or of the
    /// incarnation whose lineage this is.
    pub fn excludes(&self, incarnation: Incarnation) -> bool {
        let is_in_time = self.0.first().is_some_and(|oldest| *oldest <= incarnation);
        is_in_time && !self.includes(incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lineage: &Lineage, incarnation: u32) -> (bool, bool) {
        let incarnation = Incarnation(incarnation);
        (lineage.includes(incarnation), lineage.excludes(incarnation))
    }

    #[test]
    fn an_ancestor_a_twin_and_an_incarnation_of_which_nothing_is_known_are_told_apart() {
        const ANCESTOR: (bool, bool) = (true, false);
        const TWIN: (bool, bool) = (false, true);
        const UNKNOWN: (bool, bool) = (false, false);
        let whole = Lineage::default().followed_by(Incarnation(0)).followed_by(Incarnation(5));
        assert_eq!([0, 3, 5, 7].map(|n| judged(&whole, n)), [ANCESTOR, TWIN, ANCESTOR, TWIN]);
        let of_an_older_version = Lineage::default().followed_by(Incarnation(5));
        let judged_by_it = [0, 3, 5, 7].map(|n| judged(&of_an_older_version, n));
        assert_eq!(judged_by_it, [ANCESTOR, UNKNOWN, ANCESTOR, TWIN]);
        assert_eq!([0, 3].map(|n| judged(&Lineage::default(), n)), [ANCESTOR, UNKNOWN]);
    }

    #[test]
    fn the_newest_lives_are_remembered() {
        let long = (0..=REMEMBERED as u32).fold(Lineage::default(), |l, n| l.followed_by(Incarnation(n)));
        assert_eq!(long.iter().count(), REMEMBERED);
        let newest = Incarnation(REMEMBERED as u32);
        assert!(long.includes(newest) && !long.excludes(Incarnation(1)) && long.includes(Incarnation(0)));
    }
}
