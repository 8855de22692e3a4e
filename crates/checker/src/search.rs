//! The search for an order of one key's calls that explains all their answers.
//!
//! After Wing and Gong (1993), with Lowe's memo (2017): depth first, always taking a call that began before the
//! first call still open had ended. Four things keep it fast here. A set of finished calls is one number (a
//! Zobrist hash, kept up to date by xor), so the memo costs the same for a history of any length. Of two equal
//! states that differ only in the unanswered writes that were used, the one that used fewer can do all that the
//! other can, so the other is cut off. A call that saw a revision lower than the key's can't follow any more: a
//! choice that leaves one behind is cut off at once. And an unanswered write is tried only when no answered
//! call fits, and only in front of a call that can notice it: overwritten at once it may as well never have
//! happened.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::interval::Interval;
use crate::model::{State, Value};
use crate::remaining::{ByRevision, ByTime};

/// The result of the search.
#[derive(Debug)]
pub(crate) enum Found {
    Order,
    NoOrder(Stuck),
    OutOfTime(Stuck),
}

/// The progress of the search.
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    /// The last calls of the longest order, as indexes into the intervals.
    pub(crate) tail: Vec<usize>,
    /// The call that had to come next at the latest, and couldn't.
    pub(crate) culprit: Option<usize>,
    /// The calls that could have come next, but whose answers don't fit.
    pub(crate) misfits: Vec<usize>,
    /// A call that saw a lower revision than those would make, and could never follow.
    pub(crate) left_behind: Option<usize>,
    /// The number of calls in the longest order.
    pub(crate) depth: usize,
}

/// The time at which the search gives up. It bounds the judge's own work, which no simulation
/// steers, so it is a time of the real clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

#[expect(clippy::disallowed_methods, reason = "see the type")]
impl Deadline {
    pub(crate) fn after(time: Duration) -> Deadline {
        Deadline(Instant::now() + time)
    }

    fn has_passed(self) -> bool {
        Instant::now() >= self.0
    }
}

/// The number of calls of the longest order that are reported.
const TAIL: usize = 6;
/// The number of steps between two looks at the clock.
const STEPS_PER_LOOK: u32 = 4096;

/// The place of the next candidate.
#[derive(Debug, Clone, Copy)]
enum Cursor {
    /// The node of the list of calls and returns, and the number of its outcome.
    Answered(usize, usize),
    /// The unanswered write, and the number of its outcome.
    Unanswered(usize, usize),
}

struct Frame {
    state: State,
    interval: usize,
    /// The place to continue if this choice turns out wrong.
    next: Cursor,
}

/// A set of finished calls, and a kind of state.
type Reached = (u128, (Value, Option<u64>));

struct Search<'a> {
    intervals: &'a [Interval],
    by_time: ByTime,
    by_revision: ByRevision,
    unanswered: Vec<usize>,
    /// The unanswered writes that stand in the order; indexed as `unanswered`.
    used: Bits,
    /// The answered calls that stand in the order, as a Zobrist hash.
    finished: u128,
    frames: Vec<Frame>,
    /// The lowest bounds and smallest sets of unanswered writes with which each set of finished
    /// calls and kind of state was reached.
    seen: HashMap<Reached, Vec<(u64, Bits)>>,
    /// The call because of which the last candidate was cut off.
    left_behind: Option<usize>,
    stuck: Stuck,
}

pub(crate) fn search(intervals: &[Interval], start: State, deadline: Deadline) -> Found {
    let unanswered: Vec<usize> = (0..intervals.len()).filter(|&i| intervals[i].returned.is_none()).collect();
    let mut search = Search {
        intervals,
        by_time: ByTime::of(intervals),
        by_revision: ByRevision::of(intervals),
        used: Bits::none(unanswered.len()),
        unanswered,
        finished: 0,
        frames: Vec::new(),
        seen: HashMap::new(),
        left_behind: None,
        stuck: Stuck::default(),
    };
    search.run(start, deadline)
}

impl Search<'_> {
    fn run(&mut self, mut state: State, deadline: Deadline) -> Found {
        let mut cursor = self.first();
        let mut steps = 0u32;
        loop {
            if steps.is_multiple_of(STEPS_PER_LOOK) && deadline.has_passed() {
                self.remember_stuck();
                return Found::OutOfTime(std::mem::take(&mut self.stuck));
            }
            steps = steps.wrapping_add(1);
            let Some(blocking) = self.by_time.first_return() else { return Found::Order };
            if let Some((interval, next_state, next)) = self.candidate(state, cursor, blocking) {
                self.frames.push(Frame { state, interval, next });
                self.left_behind = None;
                state = next_state;
                cursor = self.first();
                continue;
            }
            self.remember_stuck();
            let Some(frame) = self.frames.pop() else {
                return Found::NoOrder(std::mem::take(&mut self.stuck));
            };
            self.put_back(frame.interval);
            state = frame.state;
            cursor = frame.next;
        }
    }

    fn first(&self) -> Cursor {
        Cursor::Answered(self.by_time.first(), 0)
    }

    /// Finds the next call that may follow, and takes it out of the list.
    fn candidate(
        &mut self,
        state: State,
        mut cursor: Cursor,
        blocking: usize,
    ) -> Option<(usize, State, Cursor)> {
        let latest = self.intervals[blocking].returned.unwrap_or(u64::MAX);
        loop {
            let (interval, outcome, next_call) = match cursor {
                Cursor::Answered(node, outcome) => {
                    let Some(interval) = self.by_time.call_at(node) else {
                        cursor = Cursor::Unanswered(0, 0);
                        continue;
                    };
                    (interval, outcome, Cursor::Answered(self.by_time.after(node), 0))
                }
                Cursor::Unanswered(index, outcome) => {
                    let &interval = self.unanswered.get(index)?;
                    if self.intervals[interval].called > latest {
                        return None;
                    }
                    if self.used.has(index) {
                        cursor = Cursor::Unanswered(index + 1, 0);
                        continue;
                    }
                    (interval, outcome, Cursor::Unanswered(index + 1, 0))
                }
            };
            let call = &self.intervals[interval].call;
            let useless = call.is_blind() && self.last_is_unanswered();
            let outcomes = if useless { [None, None] } else { state.step(call) };
            let next_outcome = match cursor {
                _ if outcome + 1 == outcomes.len() => next_call,
                Cursor::Answered(node, _) => Cursor::Answered(node, outcome + 1),
                Cursor::Unanswered(index, _) => Cursor::Unanswered(index, outcome + 1),
            };
            if let Some(next_state) = outcomes[outcome] {
                self.take(interval);
                if self.is_worthwhile(next_state) {
                    return Some((interval, next_state, next_outcome));
                }
                self.put_back(interval);
            }
            cursor = next_outcome;
        }
    }

    fn take(&mut self, interval: usize) {
        self.mark(interval);
        if self.intervals[interval].returned.is_some() {
            self.by_time.lift(interval);
            self.by_revision.lift(interval);
        }
    }

    fn put_back(&mut self, interval: usize) {
        self.mark(interval);
        if self.intervals[interval].returned.is_some() {
            self.by_revision.unlift(interval);
            self.by_time.unlift(interval);
        }
    }

    fn mark(&mut self, interval: usize) {
        if self.intervals[interval].returned.is_some() {
            self.finished ^= zobrist(interval);
        } else if let Ok(index) = self.unanswered.binary_search(&interval) {
            self.used.flip(index);
        }
    }

    fn last_is_unanswered(&self) -> bool {
        self.frames.last().is_some_and(|frame| self.intervals[frame.interval].returned.is_none())
    }

    /// Returns true if the search hasn't been here before, and can continue from here.
    fn is_worthwhile(&mut self, state: State) -> bool {
        if let Some(left_behind) = self.by_revision.first_below(state.least_revision()) {
            self.left_behind = Some(left_behind);
            return false;
        }
        let (bound, used) = (state.bound(), &self.used);
        let reached = self.seen.entry((self.finished, state.kind())).or_default();
        if reached.iter().any(|(lower, fewer)| *lower <= bound && fewer.is_within(used)) {
            return false;
        }
        reached.retain(|(higher, more)| *higher < bound || !used.is_within(more));
        reached.push((bound, used.clone()));
        true
    }

    fn remember_stuck(&mut self) {
        if self.stuck.culprit.is_some() && self.frames.len() <= self.stuck.depth {
            return;
        }
        let tail = self.frames.len().saturating_sub(TAIL);
        let culprit = self.by_time.first_return();
        self.stuck = Stuck {
            tail: self.frames[tail..].iter().map(|frame| frame.interval).collect(),
            culprit,
            misfits: self.by_time.calls_before_return().filter(|&call| Some(call) != culprit).collect(),
            left_behind: self.left_behind,
            depth: self.frames.len(),
        };
    }
}

/// Returns a random number for each call, by the splitmix64 generator.
fn zobrist(interval: usize) -> u128 {
    let mix = |seed: u64| {
        let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let index = interval as u64;
    u128::from(mix(2 * index + 1)) << 64 | u128::from(mix(2 * index + 2))
}

/// A set of unanswered writes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bits(Box<[u64]>);

impl Bits {
    fn none(length: usize) -> Bits {
        Bits(vec![0; length.div_ceil(64)].into())
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn flip(&mut self, index: usize) {
        self.0[index / 64] ^= 1 << (index % 64);
    }

    fn is_within(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, theirs)| mine & !theirs == 0)
    }
}
