//! The Handoff service, by which the leaders of other groups ask ours.

use std::sync::Arc;

use skv_proto::v1::handoff_server;
use skv_proto::v1::handoff_step::Step;
use skv_proto::{Error, v1};
use skv_raft::header::required;
use skv_sharding::{Epoch, GroupId, ShardId};
use skv_store::{HandoffStep, Progress, StepRefusal};
use tonic::{Request, Response, Status};

use crate::replica::Replicas;
use crate::running::Running;

/// Hands each message to the group that it is for.
#[derive(Debug, Clone)]
pub struct HandoffService {
    replicas: Arc<Replicas>,
}

impl HandoffService {
    /// Serves the replicas of this server.
    pub fn new(replicas: Arc<Replicas>) -> Self {
        HandoffService { replicas }
    }

    /// Returns the replica of the group that the header names, if it is really meant.
    fn receiver(&self, header: Option<&v1::GroupHeader>) -> Result<Arc<Running>, Error> {
        let header = required(header)?;
        let running = self.replicas.get(GroupId(header.group))?.running()?;
        running.place.check_group(header)?;
        Ok(running)
    }
}

#[tonic::async_trait]
impl handoff_server::Handoff for HandoffService {
    async fn take_step(
        &self,
        request: Request<v1::TakeStepRequest>,
    ) -> Result<Response<v1::TakeStepResponse>, Status> {
        let v1::TakeStepRequest { header, step, memory_bytes } = request.into_inner();
        let running = self.receiver(header.as_ref())?;
        let feature_level = running.group_level();
        // A source may be of a newer version, or broken: its step is judged before it is committed.
        let step = HandoffStep::try_from(step.unwrap_or_default())
            .map_err(|malformed| Error::InvalidArgument(malformed.to_string()))?;
        if !matches!(step.step(), Step::Receive(_) | Step::Chunk(_) | Step::Install(_)) {
            return Err(Error::InvalidArgument("this is no step for a target".into()).into());
        }
        running.check_source(&step, header.and_then(|header| header.sender_incarnation))?;
        let room = running.admit_step(&step, memory_bytes)?;
        refuse_higher(header.map_or(0, |header| header.feature_level), feature_level)?;
        let refusal = match running.take_step_of_other(step, room).await? {
            Ok(()) => v1::StepRefusal::None,
            Err(StepRefusal::Passed(_)) => v1::StepRefusal::Passed,
            Err(StepRefusal::NotDue) => v1::StepRefusal::NotDue,
            Err(StepRefusal::Busy) => v1::StepRefusal::Busy,
            Err(StepRefusal::Retired) => v1::StepRefusal::Retired,
            Err(StepRefusal::Incomplete) => v1::StepRefusal::Incomplete,
            Err(refusal @ (StepRefusal::NotFounded | StepRefusal::NoSuchShard | StepRefusal::Malformed)) => {
                return Err(Error::InvalidArgument(refusal.to_string()).into());
            }
        };
        Ok(Response::new(v1::TakeStepResponse { refusal: refusal as i32, feature_level }))
    }

    async fn is_leaving(
        &self,
        request: Request<v1::IsLeavingRequest>,
    ) -> Result<Response<v1::IsLeavingResponse>, Status> {
        let request = request.into_inner();
        let running = self.receiver(request.header.as_ref())?;
        // A deposed leader mustn't answer "no" in the name of the current one.
        running.reads.pass().await?;
        let (shard, epoch) = (ShardId(request.shard), Epoch(request.epoch));
        let mut departures = running.store.departures().into_iter();
        let departure =
            departures.find(|departure| (departure.to.shard, departure.to.epoch) == (shard, epoch));
        Ok(Response::new(v1::IsLeavingResponse {
            leaving: departure.is_some(),
            begins_anew: departure.is_some_and(|departure| departure.progress == Progress::Queued),
        }))
    }
}

/// Refuses a step of a shard that may hold what a voter of this group doesn't know. Nothing of it may be
/// committed here: an older voter would leave that out, or couldn't apply it (invariant 12).
fn refuse_higher(asked: u32, ours: u32) -> Result<(), Error> {
    if asked <= ours {
        return Ok(());
    }
    Err(Error::UnsupportedVersion(format!(
        "the shard may hold what only feature level {asked} knows, and not all servers of this group have it: they \
         have level {ours}. It waits until they are updated"
    )))
}
