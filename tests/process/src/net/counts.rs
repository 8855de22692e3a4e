//! The effects of a net: a test of lost replies proves nothing if none was lost.

use std::time::Duration;

/// Counts of a net since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The counts of messages from clerks.
    pub requests: Passed,
    /// The counts of messages from servers.
    pub replies: Passed,
    /// Streams that clerks opened.
    pub streams: u64,
    /// Mutations that came again under the same request id.
    pub sent_again: u64,
    /// The most sequence numbers, its own included, that a request left open: the clerk may lack
    /// their answers, so a session keeps this many in a shard.
    pub most_open: u64,
}

/// The fates of the messages of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Messages that were sent.
    pub sent: u64,
    /// Messages that got lost.
    pub lost: u64,
    /// Messages that arrived twice.
    pub doubled: u64,
    /// Copies that took longer than usual.
    pub late: u64,
    /// Copies that arrived, in a stream, after a message that was sent later.
    pub overtaken: u64,
}

impl Passed {
    /// Counts one message, whose copies arrive after these delays.
    pub(super) fn add(&mut self, arrivals: &[Duration], usual: Duration) {
        self.sent += 1;
        self.lost += u64::from(arrivals.is_empty());
        self.doubled += u64::from(arrivals.len() > 1);
        self.late += arrivals.iter().filter(|delay| **delay > usual).count() as u64;
    }
}
