//! Another group, as a leader reaches it: through the replica that leads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use skv_net::MESSAGE_LIMIT;
use skv_proto::v1::handoff_client::HandoffClient;
use skv_proto::v1::handoff_step::Step;
use skv_proto::{Error, v1};
use skv_raft::header::{FIRST_LEVEL, Place, VERSIONS};
use skv_sharding::{ClusterId, Epoch, GroupUid, Incarnation, ShardId};
use skv_store::Peer;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::environment::Environment;
use crate::running::Running;

/// The longest time of one call: with an entry's way through the group's log.
const TIMEOUT: Duration = Duration::from_secs(6);

/// Another group.
pub(super) struct Group {
    env: Arc<Environment>,
    cluster: ClusterId,
    /// The incarnation of our group.
    own: Incarnation,
    peer: Peer,
    known: Mutex<Known>,
}

/// The abilities that a target must have for a step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needs {
    /// The bytes that it must have room for; 0 for a step that mustn't wait.
    pub(super) memory_bytes: u64,
    /// The feature level of all its voters; 0 for a step that mustn't wait.
    pub(super) feature_level: u32,
}

/// The facts that were found out about it.
#[derive(Default)]
struct Known {
    /// The address at which its leader answered last.
    leader: Option<String>,
    connections: HashMap<String, Channel>,
}

/// The groups that shards go to and come from, each reached by connections that all of its shards share:
/// thousands of small shards would else make thousands.
#[derive(Default)]
pub(super) struct Groups(HashMap<GroupUid, Arc<Group>>);

impl Groups {
    /// Returns a group as one of ours reaches it.
    pub(super) fn get(&mut self, own: &Running, env: &Arc<Environment>, peer: Peer) -> Arc<Group> {
        self.0.entry(peer.uid).or_insert_with(|| Arc::new(Group::new(own, env, peer))).clone()
    }

    /// Closes the connections that no shard needs any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Group {
    /// Makes a group as one of ours reaches it.
    fn new(own: &Running, env: &Arc<Environment>, peer: Peer) -> Self {
        let Place { cluster, incarnation, .. } = own.place;
        Group { env: env.clone(), cluster, own: incarnation, peer, known: Mutex::default() }
    }

    /// Asks the group to take a step, if it can do what the step needs.
    pub(super) async fn take(
        &self,
        shard: ShardId,
        epoch: Epoch,
        step: Step,
        needs: Needs,
    ) -> Result<v1::StepRefusal, Error> {
        let step = v1::HandoffStep { shard: shard.0, epoch: epoch.0, step: Some(step) };
        let Needs { memory_bytes, feature_level } = needs;
        let header = v1::GroupHeader { feature_level, ..self.header() };
        let request = v1::TakeStepRequest { header: Some(header), step: Some(step), memory_bytes };
        let answer = self.ask(move |mut client| {
            let request = timed(request.clone());
            async move { client.take_step(request).await }.boxed()
        });
        taken(answer.await?, needs)
    }

    /// Asks whether the group still means to hand a shard over.
    pub(super) async fn is_leaving(
        &self,
        shard: ShardId,
        epoch: Epoch,
    ) -> Result<v1::IsLeavingResponse, Error> {
        let request = v1::IsLeavingRequest { header: Some(self.header()), shard: shard.0, epoch: epoch.0 };
        let answer = self.ask(move |mut client| {
            let request = timed(request);
            async move { client.is_leaving(request).await }.boxed()
        });
        answer.await
    }

    fn header(&self) -> v1::GroupHeader {
        v1::GroupHeader {
            cluster_id: self.cluster.0,
            group: self.peer.group.0,
            group_uid: self.peer.uid.0,
            versions: Some(VERSIONS),
            feature_level: 0,
            sender_incarnation: Some(self.own.0),
        }
    }

    /// Asks the leader: at its last address, at those of the map, and at those that others name.
    async fn ask<T>(
        &self,
        call: impl Fn(HandoffClient<Channel>) -> BoxFuture<'static, Result<tonic::Response<T>, Status>> + Send,
    ) -> Result<T, Error> {
        let mut addresses: Vec<String> = self.known.lock().leader.clone().into_iter().collect();
        let members = self.env.map.members(self.peer.group);
        addresses.extend(members.into_iter().map(|member| member.peer_address));
        let mut last = Error::Unavailable(format!("no address of {} is known", self.peer.group));
        let mut next = 0;
        while let Some(address) = addresses.get(next).cloned() {
            next += 1;
            if addresses[..next - 1].contains(&address) {
                continue;
            }
            let answer = match self.client(&address) {
                Ok(client) => call(client).await,
                Err(error) => Err(Status::unavailable(error.to_string())),
            };
            match answer {
                Ok(answer) => {
                    self.known.lock().leader = Some(address);
                    return Ok(answer.into_inner());
                }
                Err(status) if let Some(error) = decided(&status) => {
                    self.known.lock().leader = Some(address);
                    return Err(error);
                }
                Err(status) => {
                    self.known.lock().leader = None;
                    last = Error::from_status(&status)
                        .unwrap_or_else(|| Error::Unavailable(format!("{address}: {}", status.message())));
                    if let Error::NotLeader { leader: Some(leader), .. } = &last {
                        addresses.insert(next, leader.peer_address.clone());
                    }
                }
            }
        }
        Err(last)
    }

    fn client(&self, address: &str) -> Result<HandoffClient<Channel>, tonic::transport::Error> {
        let mut known = self.known.lock();
        let channel = if let Some(channel) = known.connections.get(address) {
            channel.clone()
        } else {
            let channel = (self.env.dial)(address)?;
            known.connections.insert(address.to_owned(), channel.clone());
            channel
        };
        Ok(HandoffClient::new(channel)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT))
    }
}

/// Returns a refusal that is the group's: nobody else in it knows better. Those that are asked after its
/// leader would only say that they don't lead.
fn decided(status: &Status) -> Option<Error> {
    Error::from_status(status).filter(|error| {
        matches!(error, Error::MemoryFull(_) | Error::UnsupportedVersion(_) | Error::InvalidArgument(_))
    })
}

/// Reads a target's answer. A refusal for a reason that only a newer target knows is a refusal all the
/// same; and a target of an older version doesn't look at the level that it is asked for.
fn taken(answer: v1::TakeStepResponse, needs: Needs) -> Result<v1::StepRefusal, Error> {
    let refusal = v1::StepRefusal::try_from(answer.refusal).map_err(|_| {
        Error::UnsupportedVersion(format!("it is refused for a newer reason, {}", answer.refusal))
    })?;
    let level = answer.feature_level.max(FIRST_LEVEL);
    if refusal == v1::StepRefusal::None && level < needs.feature_level {
        let asked = needs.feature_level;
        return Err(Error::UnsupportedVersion(format!(
            "the target has feature level {level}, not yet {asked}"
        )));
    }
    Ok(refusal)
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}

#[cfg(test)]
mod tests {
    use skv_sharding::GroupId;

    use super::*;

    fn answered(refusal: i32, feature_level: u32, asked: u32) -> Result<v1::StepRefusal, Error> {
        let needs = Needs { feature_level: asked, ..Needs::default() };
        taken(v1::TakeStepResponse { refusal, feature_level }, needs)
    }

    #[test]
    fn a_refusal_that_only_a_newer_target_knows_is_no_consent() {
        assert!(matches!(answered(99, 9, 0), Err(Error::UnsupportedVersion(_))));
        let busy = v1::StepRefusal::Busy;
        assert_eq!(answered(busy as i32, 1, 2), Ok(busy));
        assert_eq!(answered(0, 0, 0), Ok(v1::StepRefusal::None));
    }

    #[test]
    fn a_step_that_the_target_can_never_take_is_not_asked_of_its_other_servers() {
        for error in [Error::InvalidArgument("malformed".into()), Error::MemoryFull("full".into())] {
            assert_eq!(decided(&error.clone().into()), Some(error));
        }
        let not_leader = Error::NotLeader { group: GroupId(1), leader: None, term: 3 };
        for error in [not_leader, Error::Unavailable("it is stopping".into())] {
            assert_eq!(decided(&error.into()), None, "another server may lead");
        }
        assert_eq!(decided(&Status::invalid_argument("the words of a proxy")), None);
    }

    #[test]
    fn a_target_of_a_lower_level_is_no_target_and_one_that_says_none_has_the_first() {
        let fits = |level, asked| answered(0, level, asked).is_ok();
        assert_eq!(
            [fits(0, 1), fits(0, 2), fits(1, 2), fits(2, 2), fits(3, 2)],
            [true, false, false, true, true]
        );
    }
}
