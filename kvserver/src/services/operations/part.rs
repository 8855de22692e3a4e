//! A part of a frame that one replica carries out: writes that are proposed together, or reads.

use std::sync::Arc;
use std::vec::IntoIter;

use bytes::Bytes;
use futures::future::BoxFuture;
use skv_proto::v1::answer::Answer;
use skv_proto::{Error, v1};
use skv_replica::Running;
use skv_replica::map_copy::MapCopy;
use skv_store::Rejection;

use super::route::rejected;
use super::share::Writes;
use crate::metrics::Timer;
use crate::services::operation_log::Logged;
use crate::services::outbox::{self, Place, Room, Source};

/// The answers that a frame has room for at once. Clerks send as many operations together.
const USUAL: usize = 256;

/// Answers with the ids of their operations.
pub(in crate::services) type Answers = Vec<v1::Answer>;

/// The result of a part of a frame.
#[derive(Default)]
pub(in crate::services) struct Part {
    pub(in crate::services) answers: Answers,
    /// The room that these take until the client has them.
    pub(in crate::services) place: Option<Place>,
    /// The others, which are made when they can be sent.
    pub(in crate::services) later: Option<Later>,
}

/// A part of a frame on its way.
pub(in crate::services) type Pending = BoxFuture<'static, Part>;

/// Returns the answer to an operation, or to its sender's mistake, under its id.
pub(super) fn answer(id: u64, answer: Result<Answer, Error>) -> v1::Answer {
    v1::Answer { id, answer: Some(answer.unwrap_or_else(|error| Answer::Error(error.into()))) }
}

/// Proposes one write, and waits until it is applied.
pub(super) async fn write_one(
    running: &Running,
    map: &MapCopy,
    command: v1::Command,
) -> Result<Answer, Error> {
    let key = command.key.clone();
    let outcome = running.writes.submit(vec![command]).await?.pop();
    let lost = || Error::Internal("the operation got no answer".into());
    let outcome = outcome.ok_or_else(lost)??;
    outcome.map(Answer::from).map_err(|rejection| rejected(rejection, running, map, &key))
}

/// Proposes writes when there is room for their answers.
pub(super) async fn write_in_room(
    running: Arc<Running>,
    map: Arc<MapCopy>,
    writes: Writes,
    room: Room,
    told: Told,
) -> Part {
    let Writes { commands, ids, expected, puts, .. } = writes;
    let place = room.place(expected).await;
    let keys: Vec<Bytes> = commands.iter().map(|command| command.key.clone()).collect();
    let outcomes = match running.writes.submit(commands).await {
        Ok(outcomes) => outcomes,
        Err(problem) => return told.later(Rest::refused(ids, problem)),
    };
    drop(puts);
    let (mut answers, mut rejected) = (Vec::with_capacity(ids.len()), Vec::new());
    for ((id, key), outcome) in ids.into_iter().zip(keys).zip(outcomes) {
        match outcome {
            Ok(Ok(applied)) => answers.push(answer(id, Ok(applied.into()))),
            Ok(Err(rejection)) => rejected.push((id, key, Ok(rejection))),
            Err(problem) => rejected.push((id, key, Err(problem))),
        }
    }
    told.tell(&answers);
    let rejected = rejected.into_iter();
    let later = (rejected.len() > 0).then(|| Later::new(Rest::Rejected { running, map, rejected }, told));
    Part { answers, place, later }
}

/// Waits until what is read is at least as new as the operations' arrival; it may be newer.
pub(super) async fn read(
    running: Arc<Running>,
    map: Arc<MapCopy>,
    reads: Vec<(u64, Bytes)>,
    told: Told,
) -> Part {
    if let Err(problem) = running.reads.pass().await {
        return told.later(Rest::refused(reads.into_iter().map(|(id, _)| id).collect(), problem));
    }
    told.later(Rest::Reads { running, map, keys: reads.into_iter() })
}

/// Operations that are answered as their answers are sent: reads, and what has an error, which names
/// addresses and takes many times the bytes of a small write. All writes of a queue may lose their leader at
/// the same moment.
pub(in crate::services) struct Later {
    rest: Rest,
    /// Made already, but too large for the frame before.
    next: Option<Box<v1::Answer>>,
    told: Told,
}

/// The reason why a write isn't done: it was rejected when its entry was applied, or it is in none.
type Refused = Result<Rejection, Error>;

/// The operations that aren't answered yet.
enum Rest {
    Reads { running: Arc<Running>, map: Arc<MapCopy>, keys: IntoIter<(u64, Bytes)> },
    Rejected { running: Arc<Running>, map: Arc<MapCopy>, rejected: IntoIter<(u64, Bytes, Refused)> },
    Refused { ids: IntoIter<u64>, problem: Box<v1::Error> },
}

impl Rest {
    /// Returns operations that are all refused for one reason.
    fn refused(ids: Vec<u64>, problem: Error) -> Rest {
        Rest::Refused { ids: ids.into_iter(), problem: problem.into() }
    }

    /// Returns the number of operations that aren't answered yet.
    fn left(&self) -> usize {
        match self {
            Rest::Reads { keys, .. } => keys.len(),
            Rest::Rejected { rejected, .. } => rejected.len(),
            Rest::Refused { ids, .. } => ids.len(),
        }
    }

    /// Returns the next answer.
    fn answer(&mut self) -> Option<v1::Answer> {
        match self {
            Rest::Reads { running, map, keys } => {
                let (id, key) = keys.next()?;
                Some(answer(id, read_applied(running, map, &key)))
            }
            Rest::Rejected { running, map, rejected: rest } => {
                let (id, key, refused) = rest.next()?;
                let problem = match refused {
                    Ok(rejection) => rejected(rejection, running, map, &key),
                    Err(problem) => problem,
                };
                Some(answer(id, Err(problem)))
            }
            Rest::Refused { ids, problem } => {
                let id = ids.next()?;
                Some(v1::Answer { id, answer: Some(Answer::Error(problem.clone())) })
            }
        }
    }
}

impl Later {
    fn new(rest: Rest, told: Told) -> Later {
        Later { rest, next: None, told }
    }
}

impl Source for Later {
    fn fill(&mut self, frame: &mut Vec<v1::Answer>, room: usize) -> usize {
        let (mut bytes, before) = (0, frame.len());
        frame.reserve(self.rest.left().min(USUAL));
        while let Some(answer) = self.next.take().map(|next| *next).or_else(|| self.rest.answer()) {
            let size = outbox::size(&answer);
            if !frame.is_empty() && bytes + size > room {
                self.next = Some(Box::new(answer));
                break;
            }
            bytes += size;
            frame.push(answer);
        }
        self.told.tell(&frame[before..]);
        bytes
    }

    fn is_done(&self) -> bool {
        self.next.is_none() && self.rest.left() == 0
    }
}

/// Counts and prints the answers of a part of a frame.
pub(super) struct Told {
    pub(super) timer: Timer,
    pub(super) logged: Option<Arc<Logged>>,
}

impl Told {
    fn tell(&self, answers: &[v1::Answer]) {
        if answers.is_empty() {
            return;
        }
        self.timer.finish(answers_in(answers));
        if let Some(logged) = &self.logged {
            logged.print(answers);
        }
    }

    /// Returns a part with this one answer.
    pub(super) fn finished(self, answer: v1::Answer) -> Part {
        let answers = vec![answer];
        self.tell(&answers);
        Part { answers, ..Part::default() }
    }

    /// Returns a part whose answers are made when they can be sent.
    fn later(self, rest: Rest) -> Part {
        Part { later: Some(Later::new(rest, self)), ..Part::default() }
    }
}

/// Returns what a key has in what is applied by now.
pub(super) fn read_applied(running: &Running, map: &MapCopy, key: &[u8]) -> Result<Answer, Error> {
    match running.store.get(key) {
        Ok(Some((value, revision))) => {
            Ok(Answer::Get(v1::GetResponse { value, found: true, revision: revision.0 }))
        }
        Ok(None) => Ok(Answer::Get(v1::GetResponse::default())),
        Err(rejection) => Err(rejected(rejection, running, map, key)),
    }
}

pub(super) fn answers_in(answers: &[v1::Answer]) -> impl Iterator<Item = &Answer> {
    answers.iter().filter_map(|answer| answer.answer.as_ref())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use skv_sharding::{GroupId, Replica, ReplicaId};

    use super::*;
    use crate::metrics::Metrics;
    use crate::services::outbox::{FRAME, Outbox};

    /// Many answers would be much more than the ids of their operations, and nobody may want them yet.
    #[test]
    fn writes_that_lose_their_leader_are_answered_as_the_client_takes_the_answers() {
        const WRITES: u64 = 50_000;
        let leader = Replica {
            id: ReplicaId(2),
            server: "kv-0-1".into(),
            client_address: format!("kv-0-1.{}:7000", "long".repeat(20)),
            peer_address: format!("kv-0-1.{}:7001", "long".repeat(20)),
            instance: String::new(),
        };
        let problem = Error::NotLeader { group: GroupId(0), leader: Some(leader), term: 7 };
        let told = Told { timer: Metrics::new().timer(), logged: None };
        let mut outbox = Outbox::default();
        outbox.add_source(told.later(Rest::refused((0..WRITES).collect(), problem)).later.unwrap());
        assert!(!outbox.has_room(), "nothing more is read meanwhile");
        let mut next = 0;
        while !outbox.is_empty() {
            let answers = outbox.next_frame();
            for answer in &answers {
                assert_eq!(answer.id, next);
                assert!(
                    matches!(&answer.answer, Some(Answer::Error(error)) if error.message.contains("kv-0-1."))
                );
                next += 1;
            }
            let bytes = v1::PipelineResponse { answers }.encoded_len();
            assert!(bytes <= FRAME, "{bytes} bytes at once");
        }
        assert_eq!(next, WRITES);
        assert!(outbox.has_room());
    }
}
