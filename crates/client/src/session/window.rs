//! The outstanding sequence numbers of one session and shard. Pure.

use std::collections::VecDeque;

/// Numbers are given out from 1; those below `acked_below` all have their final answer.
#[derive(Debug)]
pub(super) struct Window {
    acked_below: u64,
    /// The numbers from `acked_below` on: true for each that is done.
    done: VecDeque<bool>,
}

impl Default for Window {
    fn default() -> Self {
        Window { acked_below: 1, done: VecDeque::new() }
    }
}

impl Window {
    /// Returns the next number; `None` while it would lie too far above `acked_below`.
    pub(super) fn begin(&mut self) -> Option<u64> {
        let open = self.done.len() as u64;
        if open >= skv_proto::Error::WINDOW {
            return None;
        }
        self.done.push_back(false);
        Some(self.acked_below + open)
    }

    /// Ends a number: it has its final answer, or is given up. Returns true if there is room again.
    pub(super) fn finish(&mut self, seq: u64) -> bool {
        let index = seq.checked_sub(self.acked_below).map(|index| index as usize);
        if let Some(done) = index.and_then(|index| self.done.get_mut(index)) {
            *done = true;
        }
        let was_full = self.done.len() as u64 == skv_proto::Error::WINDOW;
        while self.done.front() == Some(&true) {
            self.done.pop_front();
            self.acked_below += 1;
        }
        was_full && (self.done.len() as u64) < skv_proto::Error::WINDOW
    }

    /// Returns the lowest number without a final answer.
    pub(super) fn acked_below(&self) -> u64 {
        self.acked_below
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_count_from_one() {
        let mut window = Window::default();
        assert_eq!(window.acked_below(), 1);
        assert_eq!((window.begin(), window.begin()), (Some(1), Some(2)));
    }

    #[test]
    fn the_window_is_full_until_its_lowest_number_is_done() {
        let mut window = Window::default();
        (1..=skv_proto::Error::WINDOW).for_each(|seq| assert_eq!(window.begin(), Some(seq)));
        assert_eq!(window.begin(), None);
        assert!(!window.finish(2));
        assert_eq!(window.begin(), None);
        assert!(window.finish(1));
        assert_eq!(window.begin(), Some(skv_proto::Error::WINDOW + 1));
    }

    proptest! {
        #[test]
        fn acked_below_is_the_lowest_open_number(steps: Vec<Option<prop::sample::Index>>) {
            let mut window = Window::default();
            let (mut open, mut next) = (Vec::new(), 1);
            for step in steps {
                match step {
                    Some(index) if !open.is_empty() => {
                        window.finish(open.remove(index.index(open.len())));
                    }
                    _ => {
                        prop_assert_eq!(window.begin(), Some(next));
                        open.push(next);
                        next += 1;
                    }
                }
                prop_assert_eq!(window.acked_below(), open.iter().copied().min().unwrap_or(next));
            }
        }
    }
}
