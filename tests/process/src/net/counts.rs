//! What a net did: a test of lost replies proves nothing if none was lost.

use std::time::Duration;

/// Counts of a net since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of what clerks sent.
    pub requests: Passed,
    /// Of what servers answered.
    pub replies: Passed,
    /// Streams that clerks opened.
    pub streams: u64,
    /// Mutations that came again under the same request id.
    pub sent_again: u64,
    /// Of how many sequence numbers, its own included, a request said at most that the clerk
    /// hasn't their answers: so many a session keeps in a shard.
    pub most_open: u64,
}

/// What became of the messages of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Messages that were sent.
    pub sent: u64,
    /// Those that got lost.
    pub lost: u64,
    /// Those that arrived twice.
    pub doubled: u64,
    /// Copies that took longer than usual.
    pub late: u64,
    /// Copies that arrived, in a stream, after a message that was sent later.
    pub overtaken: u64,
}

impl Passed {
    /// Counts one message, of which this becomes.
    pub(super) fn add(&mut self, arrivals: &[Duration], usual: Duration) {
        self.sent += 1;
        self.lost += u64::from(arrivals.is_empty());
        self.doubled += u64::from(arrivals.len() > 1);
        self.late += arrivals.iter().filter(|delay| **delay > usual).count() as u64;
    }
}
