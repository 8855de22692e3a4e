//! The feature levels of a group's replicas: what a level brings may be in a log, or in another group's
//! shards on their way here, only when all voters know it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use skv_sharding::ReplicaId;

use crate::header::FIRST_LEVEL;

/// The levels that the other replicas announced to this one. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Levels(Arc<Mutex<BTreeMap<ReplicaId, u32>>>);

impl Levels {
    /// Notes the level that a replica announced. The last word counts: it may have been started again by
    /// an older version.
    pub(crate) fn note(&self, replica: ReplicaId, level: u32) {
        self.0.lock().insert(replica, level);
    }

    /// Returns the highest level that this replica and these others have. One that wasn't heard may be of
    /// any version.
    pub(crate) fn common(&self, own: u32, others: impl IntoIterator<Item = ReplicaId>) -> u32 {
        let levels = self.0.lock();
        let level = |other| levels.get(&other).copied().unwrap_or(FIRST_LEVEL);
        others.into_iter().map(level).fold(own, u32::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_the_level_that_all_have_who_were_heard_last() {
        let (levels, others) = (Levels::default(), [ReplicaId(2), ReplicaId(3)]);
        assert_eq!(levels.common(3, []), 3);
        assert_eq!(levels.common(3, others), FIRST_LEVEL, "nobody was heard");
        levels.note(ReplicaId(2), 4);
        assert_eq!(levels.common(3, others), FIRST_LEVEL);
        levels.note(ReplicaId(3), 2);
        assert_eq!(levels.common(3, others), 2);
        levels.note(ReplicaId(3), 3);
        assert_eq!(levels.common(3, others), 3);
        levels.note(ReplicaId(2), FIRST_LEVEL);
        assert_eq!(levels.common(3, others), FIRST_LEVEL, "it was started again by an older version");
    }
}
