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
use skv_raft::header::VERSIONS;
use skv_sharding::{ClusterId, Epoch, ShardId};
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
    peer: Peer,
    known: Mutex<Known>,
}

/// The facts that were found out about it.
#[derive(Default)]
struct Known {
    /// The address at which its leader answered last.
    leader: Option<String>,
    connections: HashMap<String, Channel>,
}

impl Group {
    /// Makes a group as one of ours reaches it.
    pub(super) fn new(own: &Running, env: &Arc<Environment>, peer: Peer) -> Self {
        Group { env: env.clone(), cluster: own.place.cluster, peer, known: Mutex::default() }
    }

    /// Asks the group to take a step, if it has room for this many bytes.
    pub(super) async fn take(
        &self,
        shard: ShardId,
        epoch: Epoch,
        step: Step,
        memory_bytes: u64,
    ) -> Result<v1::StepRefusal, Error> {
        let step = v1::HandoffStep { shard: shard.0, epoch: epoch.0, step: Some(step) };
        let request = v1::TakeStepRequest { header: Some(self.header()), step: Some(step), memory_bytes };
        let answer = self.ask(move |mut client| {
            let request = timed(request.clone());
            async move { client.take_step(request).await }.boxed()
        });
        Ok(answer.await?.refusal())
    }

    /// Asks whether the group still means to hand a shard over.
    pub(super) async fn is_leaving(&self, shard: ShardId, epoch: Epoch) -> Result<bool, Error> {
        let request = v1::IsLeavingRequest { header: Some(self.header()), shard: shard.0, epoch: epoch.0 };
        let answer = self.ask(move |mut client| {
            let request = timed(request);
            async move { client.is_leaving(request).await }.boxed()
        });
        Ok(answer.await?.leaving)
    }

    fn header(&self) -> v1::GroupHeader {
        v1::GroupHeader {
            cluster_id: self.cluster.0,
            group: self.peer.group.0,
            group_uid: self.peer.uid.0,
            versions: Some(VERSIONS),
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
                // The leader has decided: nobody else in its group knows better.
                Err(status) if let Some(error @ Error::MemoryFull(_)) = Error::from_status(&status) => {
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

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}
