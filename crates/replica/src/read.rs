//! Linearizable reads: one ReadIndex round serves every read that arrived before it
//! started, and none that arrived later.

use std::time::Duration;

use skv_proto::Error;
use skv_raft::{ReadError, Reads};
use tokio::sync::{mpsc, oneshot};

use crate::leader::LeaderHints;

/// The number of reads that may wait for a round.
const QUEUE: usize = 16 * 1024;
/// The time after which a leader that can't confirm its leadership has no quorum.
const ROUND_TIMEOUT: Duration = Duration::from_secs(2);

type Waiter = oneshot::Sender<Result<(), Error>>;

/// The place where reads wait until they will see a state at least as new as their arrival.
#[derive(Debug, Clone)]
pub struct ReadBarrier {
    queue: mpsc::Sender<Waiter>,
}

impl ReadBarrier {
    /// Starts the rounds; they end when the barrier is dropped.
    pub fn start(reads: Reads, hints: LeaderHints) -> Self {
        let (queue, waiters) = mpsc::channel(QUEUE);
        tokio::spawn(run(reads, hints, waiters));
        ReadBarrier { queue }
    }

    /// Returns once this replica was the leader, and has applied all that was committed,
    /// at some moment after the call.
    pub async fn pass(&self) -> Result<(), Error> {
        let (waiter, passed) = oneshot::channel();
        self.queue.try_send(waiter).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::Overloaded(format!("{QUEUE} reads are waiting already"))
            }
            mpsc::error::TrySendError::Closed(_) => Error::Unavailable("the replica is stopping".into()),
        })?;
        passed.await.unwrap_or_else(|_| Err(Error::Unavailable("the replica is stopping".into())))
    }
}

async fn run(reads: Reads, hints: LeaderHints, mut waiters: mpsc::Receiver<Waiter>) {
    let mut round = Vec::new();
    while waiters.recv_many(&mut round, QUEUE).await > 0 {
        let result = match tokio::time::timeout(ROUND_TIMEOUT, reads.confirm()).await {
            Ok(confirmed) => confirmed.map_err(|error| refusal(&hints, error)),
            Err(_) => Err(no_majority()),
        };
        for waiter in round.drain(..) {
            let _ = waiter.send(result.clone());
        }
    }
}

fn no_majority() -> Error {
    Error::Unavailable("the group's majority doesn't answer its leader".into())
}

fn refusal(hints: &LeaderHints, error: ReadError) -> Error {
    match error {
        ReadError::NotLeader(leader) => hints.not_leader(leader),
        ReadError::NoQuorum => no_majority(),
        ReadError::Stopped(reason) => Error::Unavailable(reason),
    }
}
