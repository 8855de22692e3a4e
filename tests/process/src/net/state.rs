//! The state that all proxies of a net share: the faults that messages meet, and their counts.

use std::collections::HashSet;

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::counts::Counts;
use super::faults::{Arrivals, Faults};
use super::label::Label;

/// The seed of the dice. They are the same each time; the scheduler decides which message meets which throw.
const SEED: u64 = 1;

/// The state of a net.
#[derive(Debug)]
pub(super) struct State(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    faults: Faults,
    dice: StdRng,
    counts: Counts,
    /// Keys of which the next reply gets lost.
    lose_reply_to: HashSet<Vec<u8>>,
    /// The mutations that have passed.
    known: HashSet<Label>,
}

impl Default for State {
    fn default() -> State {
        State(Mutex::new(Inner {
            faults: Faults::NONE,
            dice: StdRng::seed_from_u64(SEED),
            counts: Counts::default(),
            lose_reply_to: HashSet::new(),
            known: HashSet::new(),
        }))
    }
}

impl State {
    pub(super) fn set(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    pub(super) fn lose_next_reply_to(&self, key: &str) {
        self.0.lock().lose_reply_to.insert(key.as_bytes().to_owned());
    }

    pub(super) fn counts(&self) -> Counts {
        self.0.lock().counts
    }

    /// Returns the delay of each copy of a request.
    pub(super) fn request(&self, label: &Label) -> Arrivals {
        let inner = &mut *self.0.lock();
        if let Some(id) = &label.id {
            let open = (id.seq + 1).saturating_sub(id.acked_below);
            inner.counts.most_open = inner.counts.most_open.max(open);
            if !inner.known.insert(label.once()) {
                inner.counts.sent_again += 1;
            }
        }
        let arrivals = inner.faults.request(&mut inner.dice);
        inner.counts.requests.add(&arrivals, inner.faults.delay);
        arrivals
    }

    /// Returns the delay of each copy of a reply.
    pub(super) fn reply(&self, label: &Label) -> Arrivals {
        let inner = &mut *self.0.lock();
        let arrivals = if inner.lose_reply_to.remove(&label.key) {
            Arrivals::new()
        } else {
            inner.faults.reply(&mut inner.dice)
        };
        inner.counts.replies.add(&arrivals, inner.faults.delay);
        arrivals
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.0.lock().counts);
    }
}
