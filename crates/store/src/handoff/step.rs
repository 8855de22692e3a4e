//! The rules for a valid step of a handoff. The leader judges what comes from other groups before it
//! proposes it; what is in a log is judged once more when it is applied, by the same rules, so that
//! nothing in there ends a replica (invariant 12).

use skv_proto::v1::command::Kind;
use skv_proto::v1::handoff_step::{Chunk, Install, Step};
use skv_proto::v1::session_state::Decided;
use skv_proto::{Error, v1};
use skv_sharding::{COUNT_LIMIT, Epoch, ShardId};

/// A step of a handoff that every replica can apply.
#[derive(Debug, Clone, PartialEq)]
pub struct HandoffStep {
    /// The shard that it is about.
    pub(crate) shard: ShardId,
    /// The epoch of its move.
    pub(crate) epoch: Epoch,
    pub(crate) step: Step,
}

/// A step that is invalid. Its sender is broken, or of a version that this one doesn't know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the step has {0}")]
pub struct MalformedStep(&'static str);

impl HandoffStep {
    /// Returns the shard that it is about.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Returns the epoch of its move.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns its effect.
    pub fn step(&self) -> &Step {
        &self.step
    }
}

/// Reads it through once and copies nothing.
impl TryFrom<v1::HandoffStep> for HandoffStep {
    type Error = MalformedStep;
    fn try_from(wire: v1::HandoffStep) -> Result<Self, MalformedStep> {
        let step = wire.step.ok_or(MalformedStep("no kind that is known here"))?;
        ensure((1..COUNT_LIMIT).contains(&wire.epoch), "an epoch that no move has")?;
        match &step {
            Step::Chunk(chunk) => check_chunk(chunk)?,
            Step::Install(install) => check_install(install)?,
            Step::Begin(_)
            | Step::Pause(_)
            | Step::Freeze(_)
            | Step::Drop(_)
            | Step::Receive(_)
            | Step::Abort(_) => {}
        }
        Ok(HandoffStep { shard: ShardId(wire.shard), epoch: Epoch(wire.epoch), step })
    }
}

impl From<HandoffStep> for v1::HandoffStep {
    fn from(HandoffStep { shard, epoch, step }: HandoffStep) -> Self {
        Self { shard: shard.0, epoch: epoch.0, step: Some(step) }
    }
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), MalformedStep> {
    if holds { Ok(()) } else { Err(MalformedStep(otherwise)) }
}

fn check_chunk(chunk: &Chunk) -> Result<(), MalformedStep> {
    for key in &chunk.keys {
        ensure(key.key_length > 0, "a record without a key")?;
        ensure(key.key_length as usize <= key.record.len(), "a key longer than its record")?;
        check_revision(key.revision)?;
    }
    chunk.tombstones.iter().try_for_each(|tombstone| check_revision(tombstone.revision))?;
    chunk.forgotten.iter().try_for_each(check_id)?;
    chunk.sessions.iter().try_for_each(check_session)
}

fn check_install(install: &Install) -> Result<(), MalformedStep> {
    ensure(install.contents.is_some(), "no word on what the shard holds")?;
    ensure(install.floor < COUNT_LIMIT, "a floor that no time has reached")?;
    check_revision(install.revision)?;
    let Some(rest) = &install.rest else { return Ok(()) };
    check_chunk(rest)?;
    let keys = rest.keys.iter().map(|key| key.revision);
    let sessions = rest.sessions.iter().map(|session| session.used_revision);
    let newest = keys.chain(sessions).max().unwrap_or(0);
    ensure(newest <= install.revision, "something newer than the shard")
}

fn check_revision(revision: u64) -> Result<(), MalformedStep> {
    ensure(revision < COUNT_LIMIT, "a revision that no shard reaches")
}

fn check_id(id: &v1::SessionId) -> Result<(), MalformedStep> {
    ensure(id.opened_at < COUNT_LIMIT, "a session of a time that is never reached")
}

/// Checks a session by the rules of [`Session`](crate::sessions::Session): sequence numbers are a
/// clerk's and may be anything, their order and their window are the store's.
fn check_session(session: &v1::SessionState) -> Result<(), MalformedStep> {
    check_id(session.id.as_ref().ok_or(MalformedStep("a session without an id"))?)?;
    check_revision(session.used_revision)?;
    ensure(session.acked_below > 0, "a session without its lowest open sequence number")?;
    let mut next = Some(session.acked_below);
    for decided in &session.decided {
        check_decided(decided)?;
        let is_later = next.is_some_and(|next| next <= decided.seq);
        ensure(is_later, "sequence numbers out of their order")?;
        ensure(decided.seq - session.acked_below < Error::WINDOW, "a sequence number beyond the window")?;
        next = decided.seq.checked_add(1);
    }
    Ok(())
}

fn check_decided(decided: &Decided) -> Result<(), MalformedStep> {
    check_revision(decided.revision)?;
    match Kind::try_from(decided.kind) {
        Err(_) => Err(MalformedStep("an answer of an unknown kind")),
        Ok(Kind::Append) if decided.found && !decided.forgotten => {
            ensure(decided.key_length as usize <= decided.old_record.len(), "a key longer than its record")
        }
        Ok(_) => Ok(()),
    }
}
