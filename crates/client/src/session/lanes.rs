//! The lanes of a session, made when they are first used: of thousands of shards, many clerks write to a
//! few.

use std::sync::OnceLock;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::window::Window;

/// The number of lanes that are made together.
const TOGETHER: usize = 64;

/// The sequence numbers of one lane.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) window: Mutex<Window>,
    pub(super) has_room: Notify,
}

/// All lanes of a session.
#[derive(Debug)]
pub(super) struct Lanes(Box<[OnceLock<Box<[Lane]>>]>);

impl Lanes {
    /// Returns this many lanes.
    pub(super) fn new(count: usize) -> Lanes {
        Lanes((0..count.div_ceil(TOGETHER)).map(|_| OnceLock::new()).collect())
    }

    /// Returns a lane, which must be one of them.
    pub(super) fn get(&self, lane: usize) -> &Lane {
        let made = self.0[lane / TOGETHER].get_or_init(|| (0..TOGETHER).map(|_| Lane::default()).collect());
        &made[lane % TOGETHER]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_made_when_they_are_used_and_each_counts_for_itself() {
        let lanes = Lanes::new(10_000);
        let begin = |lane| lanes.get(lane).window.lock().begin();
        assert_eq!([0, 63, 64, 9_999, 64].map(begin), [1, 1, 1, 1, 2].map(Some));
        let made = lanes.0.iter().filter(|block| block.get().is_some()).count();
        assert_eq!(made, 3, "of {} blocks", lanes.0.len());
    }

    #[test]
    fn a_single_lane_is_enough_for_who_knows_no_shards() {
        assert_eq!(Lanes::new(1).get(0).window.lock().begin(), Some(1));
    }
}
