//! The write path above Raft: many requests become one log entry, encoded once.
//!
//! While earlier entries are in flight the next one fills up, so that batches grow with
//! the load and no timer is needed.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use skv_disk::clock::Clock;
use skv_log::{Reservation, Space, SpaceError};
use skv_memory::Charge;
use skv_proto::{Error, v1};
use skv_raft::{Consensus, Proposal, ProposeError};
use skv_store::{Applied, Outcome, encode_batch};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::leader::LeaderHints;
use crate::memory::MemoryGate;

/// The number of submissions that may wait.
const QUEUE: usize = 8 * 1024;
/// The bytes of keys and values that may wait or be in flight, if memory isn't scarce.
const QUEUE_BYTES: usize = 64 << 20;
/// The bytes at which a batch is full; one larger command still makes a batch of its own.
const BATCH_BYTES: usize = 1 << 20;
/// The number of entries that are proposed and not yet applied. Few, so that batches are large.
const IN_FLIGHT: usize = 4;
/// The time after which an entry that isn't applied has an unknown outcome: an isolated leader's
/// entries never complete. Such a leader takes no more of them.
const DEADLINE: Duration = Duration::from_secs(5);
/// The bytes that a command takes beside its key and value, at most.
const COMMAND_OVERHEAD: usize = 96;

/// The outcomes of the commands of one submission, in their order. A command that was refused for want of
/// memory holds up none of the others.
pub type Outcomes = Result<Vec<Result<Outcome, Error>>, Error>;

/// Commands that came together and are answered together.
struct Submission {
    commands: Vec<v1::Command>,
    bytes: usize,
    answer: oneshot::Sender<Outcomes>,
    /// Its share of the queue, given back with the answer.
    share: OwnedSemaphorePermit,
}

/// The queue in which mutations wait to be proposed.
#[derive(Debug, Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Submission>,
    room: Arc<Semaphore>,
    /// The bytes of keys and values that may wait or be in flight.
    bytes: usize,
}

/// The parts that the proposing task needs.
pub(crate) struct ProposerParts {
    /// The group.
    pub consensus: Consensus,
    /// The hints to the leader, for refusals.
    pub hints: LeaderHints,
    /// Room in the log.
    pub space: Space,
    /// Room in memory.
    pub memory: MemoryGate,
    /// The clock that gives entries their time.
    pub clock: Clock,
    /// While this isn't 0, nothing is proposed: the leadership is being handed over.
    pub holds: watch::Receiver<usize>,
}

impl Proposer {
    /// Starts proposing; it ends when the last clone is dropped.
    pub(crate) fn start(parts: ProposerParts) -> Self {
        let (queue, submissions) = mpsc::channel(QUEUE);
        let (entries, proposed) = mpsc::channel(IN_FLIGHT);
        let bytes = parts.memory.budget.buffer(QUEUE_BYTES);
        tokio::spawn(complete(proposed, parts.hints.clone()));
        tokio::spawn(propose(parts, submissions, entries));
        Proposer { queue, room: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// Proposes commands and waits until they are applied. `Err` stands for all of them.
    pub(crate) async fn submit(&self, commands: Vec<v1::Command>) -> Outcomes {
        let bytes: usize = commands.iter().map(queued_bytes).sum();
        let overloaded = || Error::Overloaded("too many mutations are waiting".into());
        let permits = bytes.min(self.bytes) as u32;
        let share = self.room.clone().try_acquire_many_owned(permits).map_err(|_| overloaded())?;
        let (answer, answered) = oneshot::channel();
        let submission = Submission { commands, bytes, answer, share };
        self.queue.try_send(submission).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => overloaded(),
            mpsc::error::TrySendError::Closed(_) => Error::Unavailable("the replica is stopping".into()),
        })?;
        answered.await.unwrap_or_else(|_| Err(Error::OutcomeUnknown("the replica stopped meanwhile".into())))
    }
}

/// The commands of one submission that are in an entry.
struct Asked {
    /// The number of them.
    count: usize,
    /// The places of those that are in none, with the reason, in their order.
    refused: Vec<(usize, Error)>,
    answer: oneshot::Sender<Outcomes>,
    share: OwnedSemaphorePermit,
}

impl Asked {
    /// Answers with the outcomes of the commands in the entry.
    fn answer(self, mut outcomes: impl ExactSizeIterator<Item = Outcome>) {
        // As a rule all of them are.
        let all: Vec<_> = if self.refused.is_empty() {
            outcomes.map(Ok).collect()
        } else {
            let mut all = Vec::with_capacity(outcomes.len() + self.refused.len());
            let mut refused = self.refused.into_iter().peekable();
            loop {
                match refused.next_if(|(at, _)| *at == all.len()) {
                    Some((_, error)) => all.push(Err(error)),
                    None => match outcomes.next() {
                        Some(outcome) => all.push(Ok(outcome)),
                        None => break all,
                    },
                }
            }
        };
        let _ = self.answer.send(Ok(all));
        drop(self.share);
    }

    /// Answers with the problem of all of them.
    fn fail(self, error: &Error) {
        let _ = self.answer.send(Err(error.clone()));
    }
}

/// A proposed entry on its way.
struct Proposed {
    result: Proposal,
    deadline: Instant,
    asked: Vec<Asked>,
    reservation: Reservation,
    /// Its growth.
    ahead: Charge,
    slot: OwnedSemaphorePermit,
}

async fn propose(
    mut parts: ProposerParts,
    mut submissions: mpsc::Receiver<Submission>,
    entries: mpsc::Sender<Proposed>,
) {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(submission) => submission,
            None => match submissions.recv().await {
                Some(submission) => submission,
                None => return,
            },
        };
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        if parts.holds.wait_for(|holds| *holds == 0).await.is_err() {
            return;
        }
        let mut batch = vec![first];
        let mut bytes = batch[0].bytes;
        while let Ok(submission) = submissions.try_recv() {
            if bytes + submission.bytes > BATCH_BYTES {
                next = Some(submission);
                break;
            }
            bytes += submission.bytes;
            batch.push(submission);
        }
        if let Some(proposed) = propose_one(&parts, batch, bytes, slot).await
            && entries.send(proposed).await.is_err()
        {
            return;
        }
    }
}

/// Proposes one entry; returns the batch itself if that is refused.
async fn propose_one(
    parts: &ProposerParts,
    batch: Vec<Submission>,
    bytes: usize,
    slot: OwnedSemaphorePermit,
) -> Option<Proposed> {
    if !parts.hints.is_leader() {
        refuse(batch, &parts.hints.not_leader(None));
        return None;
    }
    if parts.hints.is_cut_off(DEADLINE) {
        // Its log would take entries until the disk is full, and none of them would be answered.
        let silence = format!("no majority has answered the leader for {DEADLINE:?}");
        refuse(batch, &Error::Unavailable(format!("{silence}; start the servers that don't run")));
        return None;
    }
    if !parts.consensus.can_commit() {
        let error = Error::DiskFull("a majority of the group has no room for its next log segment".into());
        refuse(batch, &error);
        return None;
    }
    let Fitting { commands, asked, bytes, ahead } = in_memory(&parts.memory, batch, bytes)?;
    let failed = |asked: Vec<Asked>, error: &Error| asked.into_iter().for_each(|asked| asked.fail(error));
    let reservation = match parts.space.reserve(bytes).await {
        Ok(reservation) => reservation,
        Err(error) => {
            failed(asked, &no_room(error));
            return None;
        }
    };
    let entry = encode_batch(parts.clock.now_ms(), commands);
    let result = match parts.consensus.submit(entry).await {
        Ok(result) => result,
        Err(error) => {
            failed(asked, &not_applied(error, &parts.hints));
            return None;
        }
    };
    Some(Proposed { result, deadline: Instant::now() + DEADLINE, asked, reservation, ahead, slot })
}

/// The commands for which there is room in memory.
struct Fitting {
    commands: Vec<v1::Command>,
    asked: Vec<Asked>,
    /// Their bytes in the queue.
    bytes: usize,
    ahead: Charge,
}

/// Refuses the commands for which there is no room in memory, and returns the others. Most were judged
/// before they came here, while the gate was closed; here they take their room.
fn in_memory(memory: &MemoryGate, batch: Vec<Submission>, mut bytes: usize) -> Option<Fitting> {
    let count = batch.iter().map(|submission| submission.commands.len()).sum();
    let growth = memory.entry(count, bytes);
    let (mut commands, mut asked) = (Vec::with_capacity(count), Vec::with_capacity(batch.len()));
    for Submission { commands: more, answer, share, .. } in batch {
        let (before, mut refused) = (commands.len(), Vec::new());
        if growth.has_admitted(&more) {
            commands.extend(more);
        } else {
            for (place, command) in more.into_iter().enumerate() {
                if growth.admits(&command) {
                    commands.push(command);
                } else {
                    bytes -= queued_bytes(&command);
                    refused.push((place, memory.refusal()));
                }
            }
        }
        let one = Asked { count: commands.len() - before, refused, answer, share };
        if one.count > 0 {
            asked.push(one);
        } else {
            one.answer(iter::empty());
        }
    }
    (!commands.is_empty()).then(|| Fitting { commands, asked, bytes, ahead: growth.into_ahead() })
}

/// Returns the bytes of a command in the queue.
fn queued_bytes(command: &v1::Command) -> usize {
    command.key.len() + command.value.len() + COMMAND_OVERHEAD
}

fn refuse(batch: Vec<Submission>, error: &Error) {
    for submission in batch {
        let _ = submission.answer.send(Err(error.clone()));
    }
}

/// Completes submissions as their entries are applied, which happens in the order of the log.
async fn complete(mut proposed: mpsc::Receiver<Proposed>, hints: LeaderHints) {
    while let Some(proposed) = proposed.recv().await {
        let Proposed { result, deadline, asked, reservation, ahead, slot } = proposed;
        let (mut applied, mut ahead) = (Box::pin(result.applied()), Some(ahead));
        let outcome = match tokio::time::timeout_at(deadline, &mut applied).await {
            Ok(Ok(Applied::Batch(outcomes))) => Ok(outcomes),
            Ok(Ok(other)) => Err(Error::Internal(format!("a batch was applied as {other}"))),
            Ok(Err(error)) => Err(not_applied(error, &hints)),
            Err(_) => {
                // It may be applied at any time, and takes its room until that is known.
                let ahead = ahead.take();
                tokio::spawn(async move {
                    let _ = applied.await;
                    drop(ahead);
                });
                Err(Error::OutcomeUnknown(format!("not applied within {DEADLINE:?}: no majority answers")))
            }
        };
        drop((reservation, slot, ahead));
        match outcome {
            Ok(mut outcomes) => {
                // Outcomes are taken from the back, so that each submission takes its share without
                // moving the rest.
                for asked in asked.into_iter().rev() {
                    let first = outcomes.len() - asked.count;
                    asked.answer(outcomes.drain(first..));
                }
            }
            Err(error) => asked.into_iter().for_each(|asked| asked.fail(&error)),
        }
    }
}

/// Returns the error for clients about an entry that wasn't applied, as far as is known.
pub(crate) fn not_applied(error: ProposeError, hints: &LeaderHints) -> Error {
    match error {
        ProposeError::NotLeader(leader) => hints.not_leader(leader),
        ProposeError::Unknown(reason) => Error::OutcomeUnknown(reason),
        ProposeError::Internal(reason) => Error::Internal(reason),
    }
}

/// Returns the error for clients about entries for which there is no room in the log.
#[allow(clippy::needless_pass_by_value, reason = "an argument of map_err")]
pub(crate) fn no_room(error: SpaceError) -> Error {
    match error {
        SpaceError::DiskFull => Error::DiskFull(error.to_string()),
        SpaceError::NoFile(_) => Error::Overloaded(error.to_string()),
        SpaceError::TooLarge { .. } => Error::InvalidArgument(error.to_string()),
        SpaceError::Stopped(_) => Error::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use skv_sharding::Revision;
    use skv_store::{Answer, Rejection};

    use super::*;

    #[tokio::test]
    async fn a_command_that_is_in_no_entry_holds_up_none_of_those_it_came_with() {
        let share = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let (answer, answered) = oneshot::channel();
        let full = || Error::MemoryFull("full".into());
        let refused = vec![(0, full()), (2, full()), (4, full())];
        let deleted = || Ok(Answer::Delete { success: true, found: true, revision: Revision(0) });
        let rejected = || Err(Rejection::NotFounded);
        Asked { count: 2, refused, answer, share }.answer([deleted(), rejected()].into_iter());
        let all = [Err(full()), Ok(deleted()), Err(full()), Ok(rejected()), Err(full())];
        assert_eq!(answered.await.unwrap(), Ok(all.to_vec()));
    }
}
