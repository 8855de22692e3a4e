//! The search for an order of one key's calls that explains all their answers.
//!
//! After Wing and Gong (1993), with Lowe's memo (2017): depth first, always taking a call
//! that began before the first call still open had ended. Three things keep it fast here.
//! A set of finished calls is one number (a Zobrist hash, kept up to date by xor), so the
//! memo costs the same for a history of any length. Writes without an answer are tried only
//! when no answered call fits. And of two equal states that differ only in which of those
//! writes were used, the one that used fewer can do all that the other can, so the other is
//! cut off.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::{Call, State};

/// One call and its interval. `returned` is `None` for a write that may take effect at any
/// later time.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) call: Call,
    pub(crate) called: u64,
    pub(crate) returned: Option<u64>,
}

/// What the search found.
#[derive(Debug)]
pub(crate) enum Found {
    Order,
    NoOrder(Stuck),
    OutOfTime(Stuck),
}

/// How far the search came.
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    /// The last calls of the longest order, as indexes into the intervals.
    pub(crate) tail: Vec<usize>,
    /// The call that had to come next at the latest, and couldn't.
    pub(crate) culprit: Option<usize>,
    /// The calls that could have come next, but whose answers don't fit.
    pub(crate) misfits: Vec<usize>,
    /// How many calls the longest order has.
    pub(crate) depth: usize,
}

/// When the search gives up. It bounds the judge's own work, which no simulation steers, so
/// it goes by the real clock.
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

/// How many calls of the longest order are reported.
const TAIL: usize = 6;
/// How many steps are made between two looks at the clock.
const STEPS_PER_LOOK: u32 = 4096;

/// Where the next candidate is looked for.
#[derive(Debug, Clone, Copy)]
enum Cursor {
    /// The node of the list of calls and returns, and which outcome of it.
    Answered(usize, usize),
    /// The unanswered write, and which outcome of it.
    Unanswered(usize, usize),
}

struct Frame {
    state: State,
    interval: usize,
    /// Where to go on if this choice turns out wrong.
    next: Cursor,
}

struct Search<'a> {
    intervals: &'a [Interval],
    list: List,
    unanswered: Vec<usize>,
    /// Which unanswered writes stand in the order; indexed as `unanswered`.
    used: Bits,
    /// The answered calls that stand in the order, as a Zobrist hash.
    finished: u128,
    frames: Vec<Frame>,
    /// For each set of finished calls and state: the smallest sets of unanswered writes that
    /// it was reached with.
    seen: HashMap<(u128, State), Vec<Bits>>,
    stuck: Stuck,
}

pub(crate) fn search(intervals: &[Interval], start: State, deadline: Deadline) -> Found {
    let unanswered: Vec<usize> = (0..intervals.len()).filter(|&i| intervals[i].returned.is_none()).collect();
    let mut search = Search {
        intervals,
        list: List::of(intervals),
        used: Bits::none(unanswered.len()),
        unanswered,
        finished: 0,
        frames: Vec::new(),
        seen: HashMap::new(),
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
            let Some(blocking) = self.list.first_return() else { return Found::Order };
            if let Some((interval, next_state, next)) = self.candidate(state, cursor, blocking) {
                self.frames.push(Frame { state, interval, next });
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
        Cursor::Answered(self.list.first(), 0)
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
                    let Some(interval) = self.list.call_at(node) else {
                        cursor = Cursor::Unanswered(0, 0);
                        continue;
                    };
                    (interval, outcome, Cursor::Answered(self.list.after(node), 0))
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
            let outcomes = state.step(&self.intervals[interval].call);
            let next_outcome = match cursor {
                _ if outcome + 1 == outcomes.len() => next_call,
                Cursor::Answered(node, _) => Cursor::Answered(node, outcome + 1),
                Cursor::Unanswered(index, _) => Cursor::Unanswered(index, outcome + 1),
            };
            if let Some(next_state) = outcomes[outcome] {
                self.take(interval);
                if self.is_new(next_state) {
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
            self.list.lift(interval);
        }
    }

    fn put_back(&mut self, interval: usize) {
        self.mark(interval);
        if self.intervals[interval].returned.is_some() {
            self.list.unlift(interval);
        }
    }

    fn mark(&mut self, interval: usize) {
        if self.intervals[interval].returned.is_some() {
            self.finished ^= zobrist(interval);
        } else if let Ok(index) = self.unanswered.binary_search(&interval) {
            self.used.flip(index);
        }
    }

    fn is_new(&mut self, state: State) -> bool {
        let reached = self.seen.entry((self.finished, state)).or_default();
        if reached.iter().any(|earlier| earlier.is_within(&self.used)) {
            return false;
        }
        reached.retain(|earlier| !self.used.is_within(earlier));
        reached.push(self.used.clone());
        true
    }

    fn remember_stuck(&mut self) {
        if self.stuck.culprit.is_some() && self.frames.len() <= self.stuck.depth {
            return;
        }
        let tail = self.frames.len().saturating_sub(TAIL);
        let culprit = self.list.first_return();
        self.stuck = Stuck {
            tail: self.frames[tail..].iter().map(|frame| frame.interval).collect(),
            culprit,
            misfits: self.list.calls_before_return().filter(|&call| Some(call) != culprit).collect(),
            depth: self.frames.len(),
        };
    }
}

/// A random number for each call, by the splitmix64 generator.
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

/// The calls and returns that aren't in the order yet, by time: a doubly linked list in
/// which an element is put back in the place where it was.
struct List {
    nodes: Vec<Node>,
    /// The nodes of each interval's call and return; unused for unanswered ones.
    places: Vec<(usize, usize)>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    interval: usize,
    is_call: bool,
    before: usize,
    after: usize,
}

impl List {
    /// The sentinel at both ends.
    const END: usize = 0;

    fn of(intervals: &[Interval]) -> List {
        let mut moments = Vec::with_capacity(2 * intervals.len());
        for (index, interval) in intervals.iter().enumerate() {
            if let Some(returned) = interval.returned {
                // At the same moment calls come before returns: what touches, overlaps.
                moments.push((interval.called, false, index));
                moments.push((returned, true, index));
            }
        }
        moments.sort_unstable();
        let length = moments.len() + 1;
        let mut places = vec![(Self::END, Self::END); intervals.len()];
        let mut nodes =
            vec![Node { interval: usize::MAX, is_call: false, before: length - 1, after: 1 % length }];
        for (position, (_, is_return, interval)) in (1..).zip(moments) {
            nodes.push(Node {
                interval,
                is_call: !is_return,
                before: position - 1,
                after: (position + 1) % length,
            });
            if is_return {
                places[interval].1 = position;
            } else {
                places[interval].0 = position;
            }
        }
        List { nodes, places }
    }

    fn first(&self) -> usize {
        self.nodes[Self::END].after
    }

    fn after(&self, node: usize) -> usize {
        self.nodes[node].after
    }

    /// The call that stands here; `None` at a return and at the end.
    fn call_at(&self, node: usize) -> Option<usize> {
        self.nodes[node].is_call.then_some(self.nodes[node].interval)
    }

    fn calls_before_return(&self) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(self.first()), |&node| Some(self.after(node)))
            .map_while(|node| self.call_at(node))
    }

    /// The call that ends first; `None` if the list is empty.
    fn first_return(&self) -> Option<usize> {
        let mut node = self.first();
        while self.nodes[node].is_call {
            node = self.after(node);
        }
        (node != Self::END).then_some(self.nodes[node].interval)
    }

    fn lift(&mut self, interval: usize) {
        let (call, end) = self.places[interval];
        for node in [call, end] {
            let Node { before, after, .. } = self.nodes[node];
            self.nodes[before].after = after;
            self.nodes[after].before = before;
        }
    }

    fn unlift(&mut self, interval: usize) {
        let (call, end) = self.places[interval];
        for node in [end, call] {
            let Node { before, after, .. } = self.nodes[node];
            self.nodes[before].after = node;
            self.nodes[after].before = node;
        }
    }
}
