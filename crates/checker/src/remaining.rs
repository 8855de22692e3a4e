//! The calls that aren't in the order yet: doubly linked lists, in which a call that is
//! taken out is put back in the place where it was.

use crate::interval::Interval;

/// The calls and returns that aren't in the order yet, by time: a doubly linked list in
/// which an element is put back in the place where it was.
pub(crate) struct ByTime {
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

impl ByTime {
    /// The sentinel at both ends.
    const END: usize = 0;

    pub(crate) fn of(intervals: &[Interval]) -> ByTime {
        let mut moments = Vec::with_capacity(2 * intervals.len());
        for (index, interval) in intervals.iter().enumerate() {
            if let Some(returned) = interval.returned {
                // At the same moment calls come before returns: intervals that touch overlap.
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
        ByTime { nodes, places }
    }

    pub(crate) fn first(&self) -> usize {
        self.nodes[Self::END].after
    }

    pub(crate) fn after(&self, node: usize) -> usize {
        self.nodes[node].after
    }

    /// Returns the call at this node; `None` at a return and at the end.
    pub(crate) fn call_at(&self, node: usize) -> Option<usize> {
        self.nodes[node].is_call.then_some(self.nodes[node].interval)
    }

    pub(crate) fn calls_before_return(&self) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(self.first()), |&node| Some(self.after(node)))
            .map_while(|node| self.call_at(node))
    }

    /// Returns the call that ends first; `None` if the list is empty.
    pub(crate) fn first_return(&self) -> Option<usize> {
        let mut node = self.first();
        while self.nodes[node].is_call {
            node = self.after(node);
        }
        (node != Self::END).then_some(self.nodes[node].interval)
    }

    pub(crate) fn lift(&mut self, interval: usize) {
        let (call, end) = self.places[interval];
        for node in [call, end] {
            let Node { before, after, .. } = self.nodes[node];
            self.nodes[before].after = after;
            self.nodes[after].before = before;
        }
    }

    pub(crate) fn unlift(&mut self, interval: usize) {
        let (call, end) = self.places[interval];
        for node in [end, call] {
            let Node { before, after, .. } = self.nodes[node];
            self.nodes[before].after = node;
            self.nodes[after].before = node;
        }
    }
}

/// The answered calls that saw a revision, the lowest first.
pub(crate) struct ByRevision {
    /// The neighbours before and after each interval; the last one is the sentinel at both ends.
    links: Vec<(usize, usize)>,
    /// `None` for calls that aren't in the list.
    revisions: Vec<Option<u64>>,
}

impl ByRevision {
    pub(crate) fn of(intervals: &[Interval]) -> ByRevision {
        let answered = |interval: &Interval| interval.returned.and(interval.call.seen_revision());
        let revisions: Vec<Option<u64>> = intervals.iter().map(answered).collect();
        let mut order: Vec<usize> =
            (0..intervals.len()).filter(|&index| revisions[index].is_some()).collect();
        order.sort_by_key(|&index| revisions[index]);
        let end = intervals.len();
        let mut links = vec![(end, end); end + 1];
        let mut before = end;
        for &index in order.iter().chain([&end]) {
            links[before].1 = index;
            links[index].0 = before;
            before = index;
        }
        ByRevision { links, revisions }
    }

    /// Returns the remaining call that saw the lowest revision, if that is lower than this one.
    pub(crate) fn first_below(&self, revision: u64) -> Option<usize> {
        let (_, first) = self.links[self.revisions.len()];
        self.revisions.get(first).copied().flatten().filter(|&least| least < revision).map(|_| first)
    }

    pub(crate) fn lift(&mut self, interval: usize) {
        if self.revisions[interval].is_some() {
            let (before, after) = self.links[interval];
            self.links[before].1 = after;
            self.links[after].0 = before;
        }
    }

    pub(crate) fn unlift(&mut self, interval: usize) {
        if self.revisions[interval].is_some() {
            let (before, after) = self.links[interval];
            self.links[before].1 = interval;
            self.links[after].0 = interval;
        }
    }
}
