//! A part of a frame that one replica carries out: writes that are proposed together, or reads.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use skv_proto::v1::answer::Answer;
use skv_proto::{Error, v1};
use skv_replica::Running;
use skv_replica::map_copy::MapCopy;
use skv_store::Outcome;

use super::route::rejected;
use super::share::Writes;
use crate::metrics::Timer;
use crate::services::operation_log::Logged;
use crate::services::outbox::{self, Place, Room, Source};

/// Answers with the ids of their operations.
pub(in crate::services) type Answers = Vec<v1::Answer>;

/// The result of a part of a frame.
pub(in crate::services) enum Part {
    /// Answers, with the room that they take until the client has them.
    Answers(Answers, Option<Place>),
    /// Reads that may be carried out from now on.
    Reads(Reads),
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
    answered(outcome.ok_or_else(lost)?, running, map, &key)
}

fn answered(outcome: Outcome, running: &Running, map: &MapCopy, key: &[u8]) -> Result<Answer, Error> {
    outcome.map(Answer::from).map_err(|rejection| rejected(rejection, running, map, key))
}

async fn write(
    running: Arc<Running>,
    map: Arc<MapCopy>,
    commands: Vec<v1::Command>,
    ids: Vec<u64>,
) -> Answers {
    let keys: Vec<Bytes> = commands.iter().map(|command| command.key.clone()).collect();
    match running.writes.submit(commands).await {
        Ok(outcomes) => {
            let outcomes = ids.into_iter().zip(keys).zip(outcomes);
            outcomes.map(|((id, key), o)| answer(id, answered(o, &running, &map, &key))).collect()
        }
        Err(problem) => refused(ids, problem),
    }
}

fn refused(ids: impl IntoIterator<Item = u64>, problem: Error) -> Answers {
    let problem = v1::Error::from(problem);
    let refuse = |id| v1::Answer { id, answer: Some(Answer::Error(problem.clone())) };
    ids.into_iter().map(refuse).collect()
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
    let answers = write(running, map, commands, ids).await;
    drop(puts);
    told.finished(answers, place)
}

/// Waits until what is read is at least as new as the operations' arrival; it may be newer.
pub(super) async fn read(
    running: Arc<Running>,
    map: Arc<MapCopy>,
    reads: Vec<(u64, Bytes)>,
    told: Told,
) -> Part {
    if let Err(problem) = running.reads.pass().await {
        return told.finished(refused(reads.into_iter().map(|(id, _)| id), problem), None);
    }
    Part::Reads(Reads { running, map, keys: reads.into_iter(), next: None, told })
}

/// Reads that are carried out as their answers are sent.
pub(in crate::services) struct Reads {
    running: Arc<Running>,
    map: Arc<MapCopy>,
    keys: std::vec::IntoIter<(u64, Bytes)>,
    /// Read already, but too large for the frame before.
    next: Option<Box<v1::Answer>>,
    told: Told,
}

impl Source for Reads {
    fn fill(&mut self, frame: &mut Vec<v1::Answer>, room: usize) -> usize {
        let (mut bytes, before) = (0, frame.len());
        let Reads { running, map, keys, next, .. } = self;
        let read = |(id, key): (u64, Bytes)| answer(id, read_applied(running, map, &key));
        while let Some(answer) = next.take().map(|next| *next).or_else(|| keys.next().map(read)) {
            let size = outbox::size(&answer);
            if !frame.is_empty() && bytes + size > room {
                *next = Some(Box::new(answer));
                break;
            }
            bytes += size;
            frame.push(answer);
        }
        self.told.tell(&frame[before..]);
        bytes
    }

    fn is_done(&self) -> bool {
        self.next.is_none() && self.keys.len() == 0
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

    pub(super) fn finished(self, answers: Answers, place: Option<Place>) -> Part {
        self.tell(&answers);
        Part::Answers(answers, place)
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
