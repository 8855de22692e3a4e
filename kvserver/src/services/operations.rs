//! Operations, however they came in: checked, sent down the write or the read path of the
//! replica that owns the key, and answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use skv_proto::v1::answer::Answer;
use skv_proto::v1::command::Kind;
use skv_proto::v1::operation::Operation;
use skv_proto::{Error, ShardOwner, v1};
use skv_replica::map_copy::MapCopy;
use skv_replica::{Replicas, Running};
use skv_sharding::{ClusterId, GroupId, ShardId};
use skv_store::Rejection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::operation_log::{Input, Logged, print};
use super::outbox::{self, FRAME, LongPut, Place, Room, Source};
use crate::metrics::{Metrics, Timer};

/// What may wait here for shards that are on their way, and as much for shards that change as fast
/// as they are copied: in bytes, of keys and values, and so many more for each operation.
const ROOM: usize = 32 << 20;
const EACH: usize = 16 << 10;
/// How long an operation waits for its shard. Its sender then finds out where it is.
const ARRIVAL: Duration = Duration::from_secs(2);
/// Bytes of an answer beside the value that it holds, about.
const EACH_ANSWER: usize = 32;
/// How often it is looked whether a shard has come.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Answers with the ids of their operations.
pub type Answers = Vec<v1::Answer>;

/// What a part of a frame came to.
pub(super) enum Part {
    /// Answers, with the place that they take until the client has them.
    Answers(Answers, Option<Place>),
    /// What may be read from now on.
    Reads(Reads),
}

/// A part of a frame on its way.
pub(super) type Pending = BoxFuture<'static, Part>;

/// Carries operations out on this server's replicas.
#[derive(Debug, Clone)]
pub struct Operations {
    replicas: Arc<Replicas>,
    map: Arc<MapCopy>,
    metrics: Arc<Metrics>,
    log: bool,
    /// For operations that wait for their shard.
    early: Arc<Semaphore>,
    /// For writes that are slowed down.
    slowed: Arc<Semaphore>,
}

/// What an operation comes down to.
enum Task {
    Write(v1::Command),
    /// Of this key.
    Read(Bytes),
}

/// An operation that no replica here can take now.
enum Unplaced {
    Refused(Error),
    /// Its shard is on its way to this replica.
    Arriving(Box<Arriving>),
}

/// An operation whose shard is on its way to a replica here.
struct Arriving {
    running: Arc<Running>,
    shard: ShardId,
    operation: Operation,
}

/// How long a write has to wait, with the place where it does.
struct Delay {
    delay: Duration,
    _place: OwnedSemaphorePermit,
}

impl Delay {
    async fn pass(self) {
        tokio::time::sleep(self.delay).await;
    }
}

/// What one replica has to do of a batch.
struct Share {
    running: Arc<Running>,
    writes: Vec<Writes>,
    reads: Vec<(u64, Bytes)>,
    /// How long the values of keys that are appended to will be.
    lengths: HashMap<Bytes, usize>,
}

/// Writes that are proposed together.
#[derive(Default)]
struct Writes {
    commands: Vec<v1::Command>,
    ids: Vec<u64>,
    /// About so many bytes will be answered.
    expected: usize,
    puts: Vec<LongPut>,
}

impl Share {
    fn of(running: Arc<Running>) -> Self {
        Share { running, writes: Vec::new(), reads: Vec::new(), lengths: HashMap::new() }
    }

    /// Adds a write to those that are proposed together, while few bytes will be answered.
    fn write(&mut self, command: v1::Command, id: u64, room: &Room) {
        let expected = self.expected(&command, room);
        let writes = match self.writes.last_mut() {
            Some(last) if last.expected + expected <= FRAME => last,
            _ => self.writes.push_mut(Writes::default()),
        };
        writes.expected += expected;
        if command.kind() == Kind::Put {
            writes.puts.extend(room.put(command.value.len()));
        }
        writes.commands.push(command);
        writes.ids.push(id);
    }

    /// About how many bytes will be answered: an append is with the value before.
    fn expected(&mut self, command: &v1::Command, room: &Room) -> usize {
        match command.kind() {
            Kind::Append => {
                let (store, shard) = (&self.running.store, ShardId(command.shard));
                let length = self.lengths.entry(command.key.clone());
                let length = length.or_insert_with(|| store.value_length(shard, &command.key));
                let before = *length;
                *length += command.value.len();
                EACH_ANSWER + before.max(room.longest_put())
            }
            Kind::Put | Kind::Delete => EACH_ANSWER,
        }
    }
}

impl Operations {
    /// Operations on these replicas; with `log` each one's input and result is printed.
    pub fn new(replicas: Arc<Replicas>, map: Arc<MapCopy>, metrics: Arc<Metrics>, log: bool) -> Self {
        let room = || Arc::new(Semaphore::new(ROOM));
        Operations { replicas, map, metrics, log, early: room(), slowed: room() }
    }

    /// Carries one operation out.
    pub async fn one(&self, operation: Operation) -> Answer {
        let input = self.log.then(|| Input(&operation).to_string());
        let timer = self.metrics.timer();
        let answer = match self.settle(self.assign(operation)).await {
            Ok((running, Task::Write(command))) => {
                let answers = write(running, self.map.clone(), vec![command], vec![0]).await;
                let answer = answers.into_iter().next().and_then(|answer| answer.answer);
                answer.unwrap_or_else(|| error(Error::Internal("the operation got no answer".into())))
            }
            Ok((running, Task::Read(key))) => match running.reads.pass().await {
                Ok(()) => read_applied(&running, &self.map, &key),
                Err(problem) => error(problem),
            },
            Err(problem) => error(problem),
        };
        timer.finish([&answer]);
        if let Some(input) = input {
            print(&input, &answer);
        }
        answer
    }

    /// Carries operations out: the answers that are known at once, and futures of the
    /// others, so that reads don't wait for writes. Writes begin when there is room for their answers.
    pub(super) fn many(&self, operations: Vec<v1::Operation>, room: &Room) -> (Answers, Vec<Pending>) {
        let logged = self.log.then(|| Arc::new(Logged::new(&operations)));
        let (mut shares, mut slowed): (Vec<Share>, _) = (Vec::new(), Vec::new());
        let (mut refused, mut pending): (_, Vec<Pending>) = (Vec::new(), Vec::new());
        for v1::Operation { id, operation } in operations {
            let assigned = operation
                .ok_or_else(|| {
                    Unplaced::Refused(Error::InvalidArgument("the operation is of an unknown kind".into()))
                })
                .and_then(|operation| self.assign(operation));
            let (running, task) = match assigned {
                Ok(assigned) => assigned,
                Err(Unplaced::Refused(problem)) => {
                    refused.push(v1::Answer { id, answer: Some(error(problem)) });
                    continue;
                }
                Err(arriving @ Unplaced::Arriving(_)) => {
                    let (operations, room, told) = (self.clone(), room.clone(), self.told(logged.clone()));
                    let part = async move {
                        match operations.settle(Err(arriving)).await {
                            Ok((running, Task::Write(command))) => {
                                operations.write_alone(running, command, id, room, told).await
                            }
                            Ok((running, Task::Read(key))) => {
                                read(running, operations.map, vec![(id, key)], told).await
                            }
                            Err(problem) => {
                                told.finished(vec![v1::Answer { id, answer: Some(error(problem)) }], None)
                            }
                        }
                    };
                    pending.push(part.boxed());
                    continue;
                }
            };
            let share = match shares.iter().position(|share| Arc::ptr_eq(&share.running, &running)) {
                Some(index) => &mut shares[index],
                None => shares.push_mut(Share::of(running)),
            };
            match task {
                Task::Write(command) => match self.slow_down(&share.running, &command) {
                    Ok(None) => share.write(command, id, room),
                    // Those of other shards don't wait for it.
                    Ok(Some(delay)) => slowed.push((delay, share.running.clone(), command, id)),
                    Err(problem) => refused.push(v1::Answer { id, answer: Some(error(problem)) }),
                },
                Task::Read(key) => share.reads.push((id, key)),
            }
        }
        self.metrics.count(answers_in(&refused));
        if let Some(logged) = &logged {
            logged.print(&refused);
        }

        for (delay, running, command, id) in slowed {
            let (operations, room, told) = (self.clone(), room.clone(), self.told(logged.clone()));
            let part = async move {
                delay.pass().await;
                operations.write_alone(running, command, id, room, told).await
            };
            pending.push(part.boxed());
        }
        for Share { running, writes, reads, .. } in shares {
            for writes in writes {
                let (running, map, room) = (running.clone(), self.map.clone(), room.clone());
                pending.push(write_in_room(running, map, writes, room, self.told(logged.clone())).boxed());
            }
            if !reads.is_empty() {
                let (map, told) = (self.map.clone(), self.told(logged.clone()));
                pending.push(read(running, map, reads, told).boxed());
            }
        }
        (refused, pending)
    }

    /// Carries a write out that had to wait: those that it came with didn't.
    async fn write_alone(
        self,
        running: Arc<Running>,
        command: v1::Command,
        id: u64,
        room: Room,
        told: Told,
    ) -> Part {
        let mut share = Share::of(running.clone());
        share.write(command, id, &room);
        let writes = share.writes.pop().unwrap_or_default();
        write_in_room(running, self.map, writes, room, told).await
    }

    /// To whom answers are told of a part that begins now.
    fn told(&self, logged: Option<Arc<Logged>>) -> Told {
        Told { timer: self.metrics.timer(), logged }
    }

    /// Which replica has to do what: after its shard has come, if that is on its way, and after its
    /// delay, if it is slowed down.
    async fn settle(
        &self,
        assigned: Result<(Arc<Running>, Task), Unplaced>,
    ) -> Result<(Arc<Running>, Task), Error> {
        let assigned = match assigned {
            Err(Unplaced::Arriving(arriving)) => {
                self.await_arrival(&arriving).await?;
                self.assign(arriving.operation)
            }
            other => other,
        };
        match assigned {
            Ok((running, task)) => {
                if let Task::Write(command) = &task
                    && let Some(delay) = self.slow_down(&running, command)?
                {
                    delay.pass().await;
                }
                Ok((running, task))
            }
            Err(Unplaced::Refused(problem)) => Err(problem),
            // It went on elsewhere and comes again.
            Err(Unplaced::Arriving(arriving)) => Err(still_arriving(&arriving)),
        }
    }

    /// Which replica has to do what.
    fn assign(&self, operation: Operation) -> Result<(Arc<Running>, Task), Unplaced> {
        let (running, shard, arriving) = self.place(key_of(&operation)).map_err(Unplaced::Refused)?;
        check(&running, &operation).map_err(Unplaced::Refused)?;
        if arriving {
            return Err(Unplaced::Arriving(Box::new(Arriving { running, shard, operation })));
        }
        Ok((running, task(shard, operation)))
    }

    /// Waits until a shard that is on its way here has come, or doesn't come any more. So that
    /// who was sent here by the source needn't ask again and again.
    async fn await_arrival(&self, arriving: &Arriving) -> Result<(), Error> {
        let _place = place_to_wait(&self.early, size_of(&arriving.operation))?;
        let store = &arriving.running.store;
        let arrives = || matches!(store.serves(arriving.shard), Err(Rejection::Arriving { .. }));
        let deadline = Instant::now() + ARRIVAL;
        while arrives() {
            if Instant::now() >= deadline {
                // One that leads no more would wait for ever.
                arriving.running.reads.pass().await?;
                return Err(still_arriving(arriving));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// What a write of a shard has to wait for that changes as fast as it is copied.
    fn slow_down(&self, running: &Running, command: &v1::Command) -> Result<Option<Delay>, Error> {
        let Some(delay) = running.handoffs.slowed.delay(ShardId(command.shard)) else { return Ok(None) };
        let bytes = command.key.len() + command.value.len();
        Ok(Some(Delay { delay, _place: place_to_wait(&self.slowed, bytes)? }))
    }

    /// The replica on this server that owns the key's shard. Only a first look: ownership is
    /// checked again when the operation takes effect.
    fn place(&self, key: &[u8]) -> Result<(Arc<Running>, ShardId, bool), Error> {
        if key.is_empty() {
            return Err(Error::InvalidArgument("the key is empty".into()));
        }
        let mut reason = None;
        for replica in self.replicas.iter() {
            match replica.running() {
                Ok(running) => {
                    let shard = running.store.shard_of(key);
                    match shard.and_then(|shard| running.store.serves(shard).map(|()| shard)) {
                        Ok(shard) => return Ok((running, shard, false)),
                        // Only the leader knows when it has come; others say who leads.
                        Err(Rejection::Arriving { .. }) if let Ok(shard) = shard => {
                            let arriving = running.hints.is_leader();
                            return Ok((running, shard, arriving));
                        }
                        Err(rejection @ Rejection::WrongGroup { .. }) => {
                            reason = Some(with_owner(rejection, replica.group, &self.map, key));
                        }
                        Err(rejection) => {
                            reason = reason.or(Some(with_owner(rejection, replica.group, &self.map, key)));
                        }
                    }
                }
                Err(unavailable) => reason = reason.or(Some(unavailable)),
            }
        }
        Err(reason.unwrap_or_else(|| Error::Unavailable("this server has no replica".into())))
    }
}

/// A place where an operation of so many bytes may wait.
fn place_to_wait(room: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
    let bytes = u32::try_from(bytes.saturating_add(EACH)).unwrap_or(u32::MAX);
    let full = |_| Error::Overloaded("too many requests wait for shards that move".into());
    room.clone().try_acquire_many_owned(bytes).map_err(full)
}

fn error(problem: Error) -> Answer {
    Answer::Error(problem.into())
}

fn rejected(rejection: Rejection, running: &Running, map: &MapCopy, key: &[u8]) -> Answer {
    error(with_owner(rejection, running.place.group, map, key))
}

/// A rejection as it is sent, with the owner's addresses. Of two owners the one of the higher
/// epoch counts: the group knows where it sent the shard, the map what became of it then.
fn with_owner(rejection: Rejection, group: GroupId, map: &MapCopy, key: &[u8]) -> Error {
    let newest = |known: Option<ShardOwner>| {
        let mapped = map.owner_of(key).filter(|mapped| known.as_ref().is_none_or(|o| o.epoch < mapped.epoch));
        let mut owner = mapped.or(known)?;
        owner.replicas = map.members(owner.group);
        Some(owner)
    };
    match rejection.into_error(group) {
        Error::WrongGroup { group, owner } => Error::WrongGroup { group, owner: newest(owner) },
        Error::ShardMoving { group, target } => Error::ShardMoving { group, target: newest(target) },
        other => other,
    }
}

fn still_arriving(Arriving { running, shard, .. }: &Arriving) -> Error {
    tracing::debug!(group = %running.place.group, %shard, "requests wait in vain for a shard on its way");
    Error::ShardMoving { group: running.place.group, target: None }
}

async fn write(
    running: Arc<Running>,
    map: Arc<MapCopy>,
    commands: Vec<v1::Command>,
    ids: Vec<u64>,
) -> Answers {
    let keys: Vec<Bytes> = commands.iter().map(|command| command.key.clone()).collect();
    match running.writes.submit(commands).await {
        Ok(outcomes) => ids
            .into_iter()
            .zip(keys)
            .zip(outcomes)
            .map(|((id, key), outcome)| {
                let answer =
                    outcome.map_or_else(|rejection| rejected(rejection, &running, &map, &key), Answer::from);
                v1::Answer { id, answer: Some(answer) }
            })
            .collect(),
        Err(problem) => {
            let problem = v1::Error::from(problem);
            ids.into_iter()
                .map(|id| v1::Answer { id, answer: Some(Answer::Error(problem.clone())) })
                .collect()
        }
    }
}

/// Proposes writes when there is room for their answers.
async fn write_in_room(
    running: Arc<Running>,
    map: Arc<MapCopy>,
    writes: Writes,
    room: Room,
    told: Told,
) -> Part {
    let Writes { commands, ids, expected, puts } = writes;
    let place = room.place(expected).await;
    let answers = write(running, map, commands, ids).await;
    drop(puts);
    told.finished(answers, place)
}

/// Waits until what is read is at least as new as the operations' arrival; it may be newer.
async fn read(running: Arc<Running>, map: Arc<MapCopy>, reads: Vec<(u64, Bytes)>, told: Told) -> Part {
    if let Err(problem) = running.reads.pass().await {
        let problem = v1::Error::from(problem);
        let refuse = |(id, _)| v1::Answer { id, answer: Some(Answer::Error(problem.clone())) };
        return told.finished(reads.into_iter().map(refuse).collect(), None);
    }
    Part::Reads(Reads { running, map, keys: reads.into_iter(), next: None, told })
}

/// Reads that are carried out as their answers are sent.
pub(super) struct Reads {
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
        let read =
            |(id, key): (u64, Bytes)| v1::Answer { id, answer: Some(read_applied(running, map, &key)) };
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

/// Who counts and prints the answers of a part of a frame.
struct Told {
    timer: Timer,
    logged: Option<Arc<Logged>>,
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

    fn finished(self, answers: Answers, place: Option<Place>) -> Part {
        self.tell(&answers);
        Part::Answers(answers, place)
    }
}

/// What a key has in what is applied by now.
fn read_applied(running: &Running, map: &MapCopy, key: &[u8]) -> Answer {
    match running.store.get(key) {
        Ok(Some((value, revision))) => {
            Answer::Get(v1::GetResponse { value, found: true, revision: revision.0 })
        }
        Ok(None) => Answer::Get(v1::GetResponse::default()),
        Err(rejection) => rejected(rejection, running, map, key),
    }
}

pub(super) fn key_of(operation: &Operation) -> &Bytes {
    match operation {
        Operation::Get(v1::GetRequest { key, .. })
        | Operation::Put(v1::PutRequest { key, .. })
        | Operation::Append(v1::AppendRequest { key, .. })
        | Operation::Delete(v1::DeleteRequest { key, .. }) => key,
    }
}

fn value_of(operation: &Operation) -> &[u8] {
    match operation {
        Operation::Get(_) | Operation::Delete(_) => &[],
        Operation::Put(put) => &put.value,
        Operation::Append(append) => &append.args,
    }
}

/// Bytes of its key and its value.
fn size_of(operation: &Operation) -> usize {
    key_of(operation).len() + value_of(operation).len()
}

/// Whether an operation is meant for this cluster, and within its limits.
fn check(running: &Running, operation: &Operation) -> Result<(), Error> {
    let Some(facts) = running.store.facts() else { return Ok(()) };
    let (key, value) = (key_of(operation).len() as u64, value_of(operation).len() as u64);
    let cluster = match operation {
        Operation::Get(get) => get.cluster_id,
        Operation::Put(put) => put.cluster_id,
        Operation::Append(append) => append.cluster_id,
        Operation::Delete(delete) => delete.cluster_id,
    };
    if cluster != 0 && cluster != facts.cluster.0 {
        let (meant, ours) = (ClusterId(cluster), facts.cluster);
        return Err(Error::WrongIdentity(format!("the request is for cluster {meant}, this is {ours}")));
    }
    if key > facts.limits.max_key_bytes {
        let limit = facts.limits.max_key_bytes;
        return Err(Error::InvalidArgument(format!("the key has {key} bytes, the limit is {limit}")));
    }
    if value > facts.limits.max_value_bytes {
        let limit = facts.limits.max_value_bytes;
        return Err(Error::InvalidArgument(format!("the value has {value} bytes, the limit is {limit}")));
    }
    Ok(())
}

fn task(shard: ShardId, operation: Operation) -> Task {
    let (kind, key, value, if_revision, id) = match operation {
        Operation::Get(get) => return Task::Read(get.key),
        Operation::Put(put) => (Kind::Put, put.key, put.value, put.if_revision, put.id),
        Operation::Append(append) => (Kind::Append, append.key, append.args, None, append.id),
        Operation::Delete(delete) => (Kind::Delete, delete.key, Bytes::new(), delete.if_revision, delete.id),
    };
    Task::Write(v1::Command { kind: kind as i32, shard: shard.0, key, value, if_revision, id })
}

fn answers_in(answers: &[v1::Answer]) -> impl Iterator<Item = &Answer> {
    answers.iter().filter_map(|answer| answer.answer.as_ref())
}
