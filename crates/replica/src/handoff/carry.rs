//! A shard on its way from our group to another.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use prost::Message as _;
use skv_disk::entropy;
use skv_fail_points::fail_point;
use skv_proto::v1::handoff_step::{self, Begin, Chunk, Freeze, Pause, Receive, Step};
use skv_proto::{Error, v1};
use skv_sharding::GroupId;
use skv_store::{Backlog, Move, Position, Progress, StepRefusal};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::environment::Environment;
use crate::handoff::brake::Brake;
use crate::handoff::steps::name;
use crate::handoff::target::{Group, Needs};
use crate::running::Running;

/// The bytes of one chunk. Writes of other shards wait behind it in the target's log.
const CHUNK: usize = 32 << 10;
/// The number of chunks that are under way at the same time, if the limit lets them.
const UNDER_WAY: usize = 8;
/// The bytes that may be missing at the target when the source freezes: they go along with the last
/// step.
const REST: usize = 256 << 10;
/// The pause before the second attempt, and the longest one between two.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// The time for which a target may refuse what comes for want of memory until its copy is given up: what has
/// come takes memory there, and the changes that are kept for it take some here.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two questions to a target that can't be reached.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Carries one shard.
pub(super) struct Carrier {
    own: Arc<Running>,
    env: Arc<Environment>,
    to: Move,
    target: Arc<Group>,
    stands: Arc<AtomicBool>,
    /// Held by the step that asks an unreachable target again: of all chunks under way one at a time,
    /// or each would dial all of the target's servers again and again.
    asking_again: Mutex<()>,
}

/// The end of a carrier.
pub(super) enum Ended {
    /// The shard is there.
    There,
    /// There was nothing to do any more.
    Over,
}

/// The reason why a carrier stops for now.
enum Stop {
    /// There is nothing to do any more: the move is over, or another one.
    Over,
    /// The carrier has to go on from where it was.
    Again(String),
    /// The same, once the target has room in memory.
    NoRoom(String),
    /// The target lacks data that it was sent: it gets all of it once more.
    Resend(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Again(error.to_string())
    }
}

impl Carrier {
    pub(super) fn new(own: Arc<Running>, env: &Arc<Environment>, to: Move, target: Arc<Group>) -> Self {
        Carrier { own, env: env.clone(), to, target, stands: Arc::default(), asking_again: Mutex::default() }
    }

    /// Returns a flag that is true while it waits for a target that can't be reached, or doesn't take
    /// the shard.
    pub(super) fn stands(&self) -> Arc<AtomicBool> {
        self.stands.clone()
    }

    /// Carries the shard to its target; ends when it is there, or the move is another.
    pub(super) async fn run(self) -> Ended {
        let Move { shard, target, epoch, .. } = self.to;
        let (group, mut told, mut whole) = (self.own.place.group, String::new(), false);
        let ((mut pause, longest), mut refusals) = (PAUSES, Refusals::default());
        loop {
            let mut has_no_room = false;
            let problem = match self.carry(whole).await {
                Ok(()) => {
                    tracing::info!(%group, %shard, %target, %epoch, "the shard was handed over");
                    return Ended::There;
                }
                Err(Stop::Over) => return Ended::Over,
                Err(Stop::Again(problem)) => problem,
                Err(Stop::NoRoom(problem)) => {
                    has_no_room = true;
                    problem
                }
                Err(Stop::Resend(problem)) => {
                    whole = true;
                    problem
                }
            };
            self.stands.store(true, Ordering::Relaxed);
            let backlog = self.own.store.backlog(&self.to);
            let is_over = refusals.last(has_no_room && backlog.is_some(), Instant::now());
            if let Some(Backlog { copy, .. }) = backlog.filter(|backlog| is_over || backlog.is_too_much()) {
                // If the copy isn't abandoned now, that is due again: the next step fails as this did.
                let _ = self.here(Step::Pause(Pause { copy: copy.0 })).await;
            }
            if problem != told {
                tracing::warn!(%group, %shard, %target, %epoch, problem, "the shard isn't handed over yet");
                told = problem;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Goes on from where an earlier leader was, or sends the whole shard.
    async fn carry(&self, whole: bool) -> Result<(), Stop> {
        let mut progress = self.progress()?;
        if let Some(owner) = recorded_owner(&self.own, &self.env, &self.to) {
            // Our group was revived without the drop of this shard: its new owner serves it.
            if progress != Progress::Frozen {
                self.begin().await?;
                let begun = self.own.store.beginning(&self.to).ok_or(Stop::Over)?;
                self.freeze(begun).await?;
                progress = Progress::Frozen;
            }
            // The owner got the shard by a later list than the group has heard of: the target may
            // know nothing of it.
            if owner != self.to.target {
                return self.drop_unasked().await;
            }
        }
        let own = &self.own.place;
        let receive = Receive { source: own.group.0, source_uid: own.uid.0 };
        self.there(Step::Receive(receive)).await?;
        fail_point!("receive-answered");
        // Copying begins only once there is a target to send to: from here on all that changes is
        // kept.
        if progress == Progress::Queued {
            self.begin().await?;
        }
        // A frozen shard doesn't wait for its turn, since nobody serves it, and has no writers.
        let mut brake = (progress != Progress::Frozen).then(|| self.brake());
        let position = if progress == Progress::Frozen && !whole {
            // The leader that froze it knew that the target has everything from before copying began;
            // if it hasn't, it refuses a step and gets the whole shard.
            self.own.store.beginning(&self.to).ok_or(Stop::Over)?
        } else {
            self.copy(brake.is_some()).await?
        };
        fail_point!("copied");
        let position = self.catch_up(position, brake.as_mut()).await?;
        // If an earlier leader froze it, it has been frozen for an unknown time.
        let froze = (progress != Progress::Frozen).then(Instant::now);
        self.freeze(position).await?;
        drop(brake);
        // The changes until then may be more than goes into one entry.
        let position = self.catch_up(position, None).await?;
        let install = self.own.store.installation(&self.to, position).ok_or(Stop::Over)?;
        self.env.handoffs.sent(install.encoded_len() as u64);
        self.there(Step::Install(install)).await?;
        self.env.handoffs.done(froze.map(|at| at.elapsed()));
        self.here(Step::Drop(handoff_step::Drop {})).await
    }

    /// Sends the shard as it is now.
    async fn copy(&self, paced: bool) -> Result<Position, Stop> {
        let store = &self.own.store;
        let base = store.base_copy(&self.to).ok_or(Stop::Over)?;
        let position = base.position();
        let mut under_way = FuturesUnordered::new();
        for chunk in base.into_chunks(CHUNK) {
            {
                let mut turn = pin!(self.await_turn(&chunk, paced));
                loop {
                    // The chunks under way make progress only while they are polled: else all of them
                    // would be sent together.
                    tokio::select! {
                        biased;
                        Some(taken) = under_way.next() => taken?,
                        () = &mut turn, if under_way.len() < UNDER_WAY => break,
                    }
                }
            }
            under_way.push(self.there(Step::Chunk(chunk)));
        }
        while let Some(taken) = under_way.next().await {
            taken?;
            fail_point!("chunk-answered");
        }
        Ok(position)
    }

    /// Sends in rounds what changed after a position, until little is missing. Without a brake
    /// nobody changes it, and nothing waits for its turn.
    async fn catch_up(
        &self,
        mut position: Position,
        mut brake: Option<&mut Brake>,
    ) -> Result<Position, Stop> {
        let store = &self.own.store;
        loop {
            let difference = store.difference(&self.to, position, REST).ok_or(Stop::Over)?;
            if !difference.more {
                return Ok(position);
            }
            self.await_turn(&difference.chunk, brake.is_some()).await;
            self.there(Step::Chunk(difference.chunk)).await?;
            fail_point!("round-answered");
            position = difference.position;
            if let Some(brake) = &mut brake {
                brake.round(difference.reached, difference.behind);
            }
        }
    }

    /// Waits until a chunk may be sent, and counts it.
    async fn await_turn(&self, chunk: &Chunk, paced: bool) {
        let bytes = chunk.encoded_len() as u64;
        if paced {
            self.env.pace.await_turn(bytes).await;
        }
        self.env.handoffs.sent(bytes);
    }

    fn brake(&self) -> Brake {
        Brake::new(self.own.handoffs.delays.clone(), self.own.place.group, self.to.shard)
    }

    fn progress(&self) -> Result<Progress, Stop> {
        self.own.store.progress(&self.to).ok_or(Stop::Over)
    }

    /// Takes a step in our own group.
    async fn here(&self, step: Step) -> Result<(), Stop> {
        match self.own.take_own_step(self.to.shard, self.to.epoch, step).await? {
            Ok(()) => Ok(()),
            Err(StepRefusal::Passed(_)) => Err(Stop::Over),
            Err(refusal) => Err(Stop::Again(refusal.to_string())),
        }
    }

    /// Has the target take a step; tries again until the target can be reached.
    async fn there(&self, step: Step) -> Result<(), Stop> {
        let Move { shard, target, epoch, .. } = self.to;
        let (mut told, mut turn) = (false, None);
        let is_promise = matches!(step, Step::Receive(_));
        loop {
            // A leader that is cut off from its group goes on for a while: it would only disturb the
            // next.
            self.own.check_leads()?;
            match self.target.take(shard, epoch, step.clone(), self.needs_of(&step)).await {
                Ok(v1::StepRefusal::None) => {
                    self.stands.store(false, Ordering::Relaxed);
                    return Ok(());
                }
                Ok(refusal) => {
                    let (step, why) = (name(&step), refusal.as_str_name());
                    let problem = format!("{target} refuses {step}: {why}");
                    // It was told that this move is over, by our group before it was revived: only
                    // under a higher epoch, which the manager gives, it takes the shard.
                    if is_promise
                        && refusal == v1::StepRefusal::Passed
                        && self.own.handoffs.note_passed(shard, epoch)
                    {
                        self.own.orders.report_soon();
                    }
                    return Err(match refusal {
                        v1::StepRefusal::Incomplete | v1::StepRefusal::NotDue => Stop::Resend(problem),
                        _ => Stop::Again(problem),
                    });
                }
                Err(error @ Error::MemoryFull(_)) => {
                    return Err(Stop::NoRoom(format!("{target} refuses {}: {error}", name(&step))));
                }
                Err(error @ Error::UnsupportedVersion(_)) => {
                    return Err(Stop::Again(format!("{target} refuses {}: {error}", name(&step))));
                }
                // If it were sent again, it would be refused again.
                Err(error @ Error::InvalidArgument(_)) => return Err(error.into()),
                // A target that is gone, or was made again since, can't report any more that it had
                // the shard.
                Err(_) if recorded_owner(&self.own, &self.env, &self.to).is_some() => {
                    return self.drop_unasked().await;
                }
                Err(error) if !told => {
                    tracing::warn!(group = %self.own.place.group, %shard, %target, %epoch, %error, "the target can't be asked");
                    told = true;
                }
                Err(_) => {}
            }
            if self.is_outgrown() {
                let problem = format!("{target} is away for so long that it will get a new copy");
                return Err(Stop::Again(problem));
            }
            self.stands.store(true, Ordering::Relaxed);
            if turn.is_none() {
                turn = Some(self.asking_again.lock().await);
            } else {
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }

    /// Returns what the target must have for a step; nothing for one that mustn't wait, since nobody
    /// serves the shard.
    ///
    /// The shard holds nothing above the level of this leader, who proposes all that is written to it: so
    /// the level that this leader asked for before it froze the shard is enough for all that follows.
    fn needs_of(&self, step: &Step) -> Needs {
        if self.own.store.progress(&self.to) == Some(Progress::Frozen) {
            return Needs::default();
        }
        let memory_bytes = match step {
            Step::Receive(_) => self.own.store.memory_of(self.to.shard),
            Step::Chunk(chunk) => chunk.encoded_len() as u64,
            _ => 0,
        };
        Needs { memory_bytes, feature_level: self.own.feature_level }
    }

    /// Returns true if a copy goes on, and more is kept for it than a new one would cost.
    fn is_outgrown(&self) -> bool {
        self.own.store.backlog(&self.to).is_some_and(|backlog| backlog.is_too_much())
    }

    /// Drops the shard without asking its target: the map names another owner.
    async fn drop_unasked(&self) -> Result<(), Stop> {
        self.here(Step::Drop(handoff_step::Drop {})).await?;
        let Move { shard, target, epoch, .. } = self.to;
        tracing::info!(group = %self.own.place.group, %shard, %target, %epoch, "the shard is elsewhere by the map: it is dropped");
        Err(Stop::Over)
    }

    async fn begin(&self) -> Result<(), Stop> {
        self.here(Step::Begin(Begin { copy: entropy::random_id() })).await
    }

    /// Ends the group's service, for a target that is about here in a copy.
    async fn freeze(&self, position: Position) -> Result<(), Stop> {
        self.here(Step::Freeze(Freeze { copy: position.copy().0 })).await
    }
}

/// The attempts of a copy that the target refused for want of memory, one after the other.
#[derive(Debug, Default)]
struct Refusals {
    since: Option<Instant>,
}

impl Refusals {
    /// Notes an attempt. Returns true if the copy has been refused for too long.
    fn last(&mut self, is_refused: bool, now: Instant) -> bool {
        if !is_refused {
            self.since = None;
            return false;
        }
        now.duration_since(*self.since.get_or_insert(now)) >= PATIENCE
    }
}

/// Returns the group that has the shard by the map, if it went there by this move or a later one.
pub(super) fn recorded_owner(own: &Running, env: &Environment, to: &Move) -> Option<GroupId> {
    let owner = env.map.owner(to.shard)?;
    (owner.group != own.place.group && owner.epoch >= to.epoch).then_some(owner.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_given_up_when_its_target_has_had_no_room_for_long() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        assert!(!refusals.last(true, start));
        assert!(!refusals.last(true, start + PATIENCE / 2));
        assert!(!refusals.last(false, start + PATIENCE / 2), "it progressed");
        assert!(!refusals.last(true, start + PATIENCE));
        assert!(refusals.last(true, start + PATIENCE * 2));
        assert!(!refusals.last(false, start + PATIENCE * 2), "no copy goes on");
        assert!(!refusals.last(true, start + PATIENCE * 3), "another one");
    }
}
