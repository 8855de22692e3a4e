//! An operator who keeps removing replicas from the groups, at any moment, also while leaders
//! change. The shard managers want them back, so that each is admitted again.

use std::time::Duration;

use skv_net::Dial;
use skv_proto::v1::admin_client::AdminClient;
use skv_proto::v1::{RemoveReplicaRequest, ReplicaState, ReplicaStatus, StatusRequest};
use tonic::transport::Channel;

use crate::layout::{peer_address, servers_of};
use crate::net;

/// The time limit of a call.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Runs as long as the simulation does.
pub(crate) async fn run(groups: usize) -> turmoil::Result {
    let dial = skv_net::dial(net::connector());
    loop {
        tokio::time::sleep(Duration::from_millis(2000 + random_below(3000))).await;
        let group = random_below(groups as u64) as usize;
        let statuses = statuses(&dial, group).await;
        let Some((leader, status)) = statuses.iter().find(|(_, s)| s.state() == ReplicaState::Leader) else {
            continue;
        };
        let others: Vec<u64> = status.peers.iter().map(|peer| peer.replica).collect();
        let Some(&replica) = others.get(random_below(others.len().max(1) as u64) as usize) else { continue };
        let request = RemoveReplicaRequest { group: status.group, group_uid: status.group_uid, replica };
        let Some(mut admin) = admin(&dial, *leader) else { continue };
        let answer = tokio::time::timeout(TIMEOUT, admin.remove_replica(request)).await;
        let said = match answer {
            Ok(Ok(_)) => "it is removed".to_owned(),
            Ok(Err(status)) => status.message().to_owned(),
            Err(_) => "no answer".to_owned(),
        };
        eprintln!("{:?}: removing {replica:016x}: {said}", turmoil::elapsed());
    }
}

pub(crate) fn random_below(bound: u64) -> u64 {
    skv_disk::entropy::random_id() % bound
}

pub(crate) fn admin(dial: &Dial, server: usize) -> Option<AdminClient<Channel>> {
    dial(&peer_address(server)).ok().map(AdminClient::new)
}

/// Returns the status of the replica on a server, if that answers.
pub(crate) async fn status(dial: &Dial, server: usize) -> Option<ReplicaStatus> {
    let mut admin = admin(dial, server)?;
    let answer = tokio::time::timeout(TIMEOUT, admin.status(StatusRequest {})).await;
    answer.ok()?.ok()?.into_inner().replicas.pop()
}

/// Returns the status of the replica on each server that answers.
pub(crate) async fn statuses(dial: &Dial, group: usize) -> Vec<(usize, ReplicaStatus)> {
    let mut statuses = Vec::new();
    for server in servers_of(group) {
        statuses.extend(status(dial, server).await.map(|replica| (server, replica)));
    }
    statuses
}
