//! A transmission, and its fate.

use skv_proto::v1::operation::Operation;
use skv_proto::{Error, v1};
use tokio::sync::watch;

/// The fate of a transmission.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It is applied and answered.
    Serve,
    /// It is answered with this error, and not applied.
    Refuse(Error),
    /// It is neither applied nor answered.
    Lose,
    /// It is applied and not answered.
    Mute,
    /// It is applied, and then the stream breaks, or the call ends with a status that no server of ours made.
    Break,
    /// It is served when this becomes true.
    Hold(watch::Receiver<bool>),
}

/// A transmission, as a server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The server.
    pub server: usize,
    /// The number of transmissions of this operation's kind that came before, at all servers.
    pub nth: usize,
    /// True if it came over a stream.
    pub streamed: bool,
    /// The operation that was asked for.
    pub operation: Operation,
}

impl Seen {
    /// Returns its id; `None` for reads.
    pub fn id(&self) -> Option<v1::RequestId> {
        match &self.operation {
            Operation::Get(_) => None,
            Operation::Put(r) => r.id,
            Operation::Append(r) => r.id,
            Operation::Delete(r) => r.id,
        }
    }

    /// Returns its sequence number. Panics for reads.
    pub fn seq(&self) -> u64 {
        self.id().unwrap().seq
    }

    /// Returns its session. Panics for reads.
    pub fn session(&self) -> v1::SessionId {
        self.id().unwrap().session.unwrap()
    }

    /// Returns its key.
    pub fn key(&self) -> &[u8] {
        match &self.operation {
            Operation::Get(r) => &r.key,
            Operation::Put(r) => &r.key,
            Operation::Append(r) => &r.key,
            Operation::Delete(r) => &r.key,
        }
    }

    /// Returns true if it must not be forwarded.
    pub fn is_direct(&self) -> bool {
        match &self.operation {
            Operation::Get(r) => r.direct,
            Operation::Put(r) => r.direct,
            Operation::Append(r) => r.direct,
            Operation::Delete(r) => r.direct,
        }
    }

    /// Returns true if it isn't a read.
    pub fn is_mutation(&self) -> bool {
        !matches!(self.operation, Operation::Get(_))
    }
}

/// A call of a server's operator service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminCall {
    /// A transfer of the leadership to this replica; 0 = to any.
    TransferLeader {
        /// The server that was asked.
        server: usize,
        /// The replica to hand it to.
        to: u64,
    },
    /// A removal of this replica from its group.
    RemoveReplica {
        /// The server that was asked.
        server: usize,
        /// The replica to remove.
        replica: u64,
    },
    /// A revival of a group from this server alone.
    Reset {
        /// The server that was asked.
        server: usize,
    },
}
