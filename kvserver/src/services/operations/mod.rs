//! Operations, however they came in: checked, sent down the write or the read path of the
//! replica that owns the key, and answered.

mod part;
pub(super) mod request;
mod route;
mod share;
mod wait;

use std::sync::Arc;

use futures::FutureExt as _;
use skv_memory::Budget;
use skv_proto::v1::answer::Answer;
use skv_proto::v1::operation::Operation;
use skv_proto::{Error, v1};
use skv_replica::map_copy::MapCopy;
use skv_replica::{Replicas, Running};

pub(super) use self::part::{Answers, Later, Part, Pending};
use self::part::{answer, answers_in, read, read_applied, write_in_room, write_one};
use self::request::{Task, check, key_of, task};
use self::route::{Route, route};
use self::share::Share;
use self::wait::{Arriving, Delay, WaitingRoom};
use super::operation_log::{Input, Logged, print};
use super::outbox::Room;
use crate::metrics::Metrics;

/// Carries operations out on this server's replicas.
#[derive(Debug, Clone)]
pub(crate) struct Operations {
    replicas: Arc<Replicas>,
    map: Arc<MapCopy>,
    metrics: Arc<Metrics>,
    log: bool,
    waiting: WaitingRoom,
    budget: Budget,
}

/// An operation that no replica here can take now.
enum Unplaced {
    Refused(Error),
    /// Its shard is on its way to this replica.
    Arriving(Box<Arriving>),
}

/// A replica, and what it has to do.
type Assigned = Result<(Arc<Running>, Task), Unplaced>;

/// A write that is slowed down.
struct Slowed {
    delay: Delay,
    running: Arc<Running>,
    command: v1::Command,
    id: u64,
}

/// The operations of a frame, by who carries them out.
#[derive(Default)]
struct Sorted {
    shares: Vec<Share>,
    slowed: Vec<Slowed>,
    early: Vec<(u64, Box<Arriving>)>,
    refused: Answers,
}

impl Sorted {
    fn refuse(&mut self, id: u64, problem: Error) {
        self.refused.push(answer(id, Err(problem)));
    }

    fn share_of(&mut self, running: Arc<Running>) -> &mut Share {
        match self.shares.iter().position(|share| Arc::ptr_eq(&share.running, &running)) {
            Some(index) => &mut self.shares[index],
            None => self.shares.push_mut(Share::of(running)),
        }
    }
}

impl Operations {
    /// Operations on these replicas; with `log` each one's input and result is printed.
    pub(crate) fn new(
        replicas: Arc<Replicas>,
        map: Arc<MapCopy>,
        metrics: Arc<Metrics>,
        budget: Budget,
        log: bool,
    ) -> Self {
        Operations { replicas, map, metrics, log, waiting: WaitingRoom::new(&budget), budget }
    }

    /// Returns the memory that operations may take.
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Carries one operation out.
    pub(crate) async fn one(&self, operation: Operation) -> Result<Answer, Error> {
        let input = self.log.then(|| Input(&operation).to_string());
        let timer = self.metrics.timer();
        let answer = match self.settle(self.assign(operation)).await {
            Ok((running, Task::Write(command))) => write_one(&running, &self.map, command).await,
            Ok((running, Task::Read(key))) => match running.reads.pass().await {
                Ok(()) => read_applied(&running, &self.map, &key),
                Err(problem) => Err(problem),
            },
            Err(problem) => Err(problem),
        };
        timer.finish_one(&answer);
        if let Some(input) = input {
            print(&input, answer.as_ref());
        }
        answer
    }

    /// Carries operations out: the answers that are known at once, and futures of the
    /// others, so that reads don't wait for writes. Writes begin when there is room for their answers.
    pub(super) fn many(&self, operations: Vec<v1::Operation>, room: &Room) -> (Answers, Vec<Pending>) {
        let logged = self.log.then(|| Arc::new(Logged::new(&operations)));
        let Sorted { shares, slowed, early, refused } = self.sort(operations, room);
        self.metrics.count(answers_in(&refused));
        if let Some(logged) = &logged {
            logged.print(&refused);
        }
        let told = || part::Told { timer: self.metrics.timer(), logged: logged.clone() };
        let mut pending: Vec<Pending> = Vec::new();
        for (id, arriving) in early {
            pending.push(self.clone().after_arrival(id, arriving, room.clone(), told()).boxed());
        }
        for Slowed { delay, running, command, id } in slowed {
            let (operations, room, told) = (self.clone(), room.clone(), told());
            let part = async move {
                delay.pass().await;
                operations.write_alone(running, command, id, room, told).await
            };
            pending.push(part.boxed());
        }
        for Share { running, writes, reads, .. } in shares {
            for writes in writes {
                let (running, map, room) = (running.clone(), self.map.clone(), room.clone());
                pending.push(write_in_room(running, map, writes, room, told()).boxed());
            }
            if !reads.is_empty() {
                pending.push(read(running, self.map.clone(), reads, told()).boxed());
            }
        }
        (refused, pending)
    }

    /// Sorts operations by the replica that carries them out.
    fn sort(&self, operations: Vec<v1::Operation>, room: &Room) -> Sorted {
        let mut sorted = Sorted::default();
        for v1::Operation { id, operation } in operations {
            let unknown = || Error::InvalidArgument("the operation is of an unknown kind".into());
            let assigned = operation.ok_or_else(|| Unplaced::Refused(unknown()));
            match assigned.and_then(|operation| self.assign(operation)) {
                Ok((running, Task::Write(command))) => match self.waiting.slow_down(&running, &command) {
                    Ok(None) => sorted.share_of(running).write(command, id, room),
                    // Those of other shards don't wait for it.
                    Ok(Some(delay)) => sorted.slowed.push(Slowed { delay, running, command, id }),
                    Err(problem) => sorted.refuse(id, problem),
                },
                Ok((running, Task::Read(key))) => sorted.share_of(running).reads.push((id, key)),
                Err(Unplaced::Arriving(arriving)) => sorted.early.push((id, arriving)),
                Err(Unplaced::Refused(problem)) => sorted.refuse(id, problem),
            }
        }
        sorted
    }

    /// Carries an operation out whose shard is on its way here.
    async fn after_arrival(self, id: u64, arriving: Box<Arriving>, room: Room, told: part::Told) -> Part {
        match self.settle(Err(Unplaced::Arriving(arriving))).await {
            Ok((running, Task::Write(command))) => self.write_alone(running, command, id, room, told).await,
            Ok((running, Task::Read(key))) => read(running, self.map, vec![(id, key)], told).await,
            Err(problem) => told.finished(answer(id, Err(problem))),
        }
    }

    /// Carries a write out that had to wait: those that it came with didn't.
    async fn write_alone(
        self,
        running: Arc<Running>,
        command: v1::Command,
        id: u64,
        room: Room,
        told: part::Told,
    ) -> Part {
        let mut share = Share::of(running.clone());
        share.write(command, id, &room);
        let writes = share.writes.pop().unwrap_or_default();
        write_in_room(running, self.map, writes, room, told).await
    }

    /// Returns which replica has to do what: after its shard has come, if that is on its way, and after
    /// its delay, if it is slowed down.
    async fn settle(&self, assigned: Assigned) -> Result<(Arc<Running>, Task), Error> {
        let assigned = match assigned {
            Err(Unplaced::Arriving(arriving)) => {
                self.waiting.await_arrival(&arriving).await?;
                self.assign(arriving.operation)
            }
            other => other,
        };
        match assigned {
            Ok((running, task)) => {
                if let Task::Write(command) = &task
                    && let Some(delay) = self.waiting.slow_down(&running, command)?
                {
                    delay.pass().await;
                }
                Ok((running, task))
            }
            Err(Unplaced::Refused(problem)) => Err(problem),
            // It went on elsewhere and comes again.
            Err(Unplaced::Arriving(arriving)) => Err(arriving.in_vain()),
        }
    }

    /// Returns which replica has to do what.
    fn assign(&self, operation: Operation) -> Assigned {
        let routed = route(&self.replicas, &self.map, key_of(&operation));
        let Route { running, shard, arriving } = routed.map_err(Unplaced::Refused)?;
        if let Some(checked) = running.store.with_facts(|facts| check(facts, &operation)) {
            checked.map_err(Unplaced::Refused)?;
        }
        if arriving {
            return Err(Unplaced::Arriving(Box::new(Arriving { running, shard, operation })));
        }
        let task = task(shard, operation);
        if let Task::Write(command) = &task {
            running.writes.memory().admit(command).map_err(Unplaced::Refused)?;
        }
        Ok((running, task))
    }
}
