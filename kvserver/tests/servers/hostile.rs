//! Messages that no correct peer sends: they are refused, and every server keeps running.

use std::time::Duration;

use skv_proto::v1::append_entries_request::{Append, Message};
use skv_proto::v1::handoff_client::HandoffClient;
use skv_proto::v1::handoff_step::{Chunk, Install, Receive, Step};
use skv_proto::v1::raft_client::RaftClient;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_proto::{Error, v1};
use skv_raft::header::VERSIONS;
use tonic::transport::Channel;

use crate::cluster::{Cluster, until};

const LONG: Duration = Duration::from_mins(1);

fn step(epoch: u64, step: Step) -> v1::HandoffStep {
    v1::HandoffStep { shard: 0, epoch, step: Some(step) }
}

fn hostile_steps() -> Vec<v1::HandoffStep> {
    let key = |key_length, revision| v1::KeyState { record: "k".into(), key_length, revision };
    let keys = |key| Chunk { keys: vec![key], ..Chunk::default() };
    let sessions = |session| Chunk { sessions: vec![session], ..Chunk::default() };
    let unknown = v1::session_state::Decided { seq: 1, kind: 99, ..Default::default() };
    let id = Some(v1::SessionId { opened_at: 1, random: 1 });
    let chunks = [
        keys(key(2, 1)),
        keys(key(u32::MAX, 1)),
        keys(key(1, u64::MAX)),
        sessions(v1::SessionState::default()),
        sessions(v1::SessionState { id, acked_below: 1, decided: vec![unknown], ..Default::default() }),
    ];
    let install =
        |rest| Install { rest: Some(rest), contents: Some(v1::Contents::default()), ..Install::default() };
    let receive = Step::Receive(Receive { source: 9, source_uid: 9 });
    let last = Install { revision: u64::MAX, floor: u64::MAX, ..install(Chunk::default()) };
    let mut steps: Vec<_> = chunks.iter().map(|chunk| step(999, Step::Chunk(chunk.clone()))).collect();
    steps.extend(chunks.into_iter().map(|chunk| step(999, Step::Install(install(chunk)))));
    steps.push(step(999, Step::Install(last)));
    steps.extend([0, u64::MAX].map(|epoch| step(epoch, receive.clone())));
    steps.extend([v1::HandoffStep { epoch: 999, ..Default::default() }, v1::HandoffStep::default()]);
    steps
}

fn is_invalid(refused: &tonic::Status) -> bool {
    matches!(Error::from_status(refused), Some(Error::InvalidArgument(_) | Error::UnsupportedVersion(_)))
}

/// Entries and votes of somebody who speaks as a replica of the group.
async fn speak_as_a_leader(cluster: &Cluster, to: usize, from: usize) {
    let (group, cluster_id) =
        (cluster.status(to).await.unwrap(), cluster.status(to).await.unwrap().cluster_id);
    let other = cluster.status(from).await.unwrap().replica;
    let header = v1::PeerHeader {
        cluster_id,
        group: 0,
        group_uid: group.group_uid,
        incarnation: 0,
        from: other,
        to: group.replica,
        versions: Some(VERSIONS),
        feature_level: 1,
    };
    let mut raft: RaftClient<Channel> = RaftClient::connect(cluster.peer_url(to)).await.unwrap();
    // Of a term that is over, so that what is refused is what it says.
    let vote = v1::RaftVote { term: group.term, replica: other, committed: true };
    let prev = group.applied;
    let index = prev.as_ref().map_or(0, |prev| prev.index + 1);
    let id = |index| Some(v1::LogId { term: group.term, replica: other, index });
    let entry = |index, bytes: &'static [u8]| v1::LogEntry {
        log_id: id(index),
        payload: Some(v1::log_entry::Payload::Normal(bytes.into())),
    };
    let append = Append { vote: Some(vote), prev, entries: Vec::new(), leader_commit: None };
    let appends = [
        Append { entries: vec![entry(index, b"\xff\xff")], ..append.clone() },
        Append { entries: vec![entry(index, b"\x08\x63")], ..append.clone() },
        Append { entries: vec![entry(index, b"\x08\x01")], ..append.clone() },
        Append { entries: vec![entry(index + 5, b"\x08\x01\x32\x00")], ..append.clone() },
        Append { vote: Some(v1::RaftVote { term: u64::MAX, ..vote }), ..append.clone() },
        Append { vote: Some(v1::RaftVote { committed: false, ..vote }), ..append.clone() },
        Append { vote: Some(v1::RaftVote { replica: group.replica, ..vote }), ..append.clone() },
        Append { leader_commit: id(u64::MAX), ..append.clone() },
        Append { prev: id(u64::MAX), ..append.clone() },
        Append { vote: None, ..append },
    ];
    for append in appends {
        let sent = [Message::Hello(header), Message::Append(append.clone())];
        let sent = sent.map(|message| v1::AppendEntriesRequest { message: Some(message) });
        let mut answers = raft.append_entries(tokio_stream::iter(sent)).await.unwrap().into_inner();
        assert!(answers.message().await.unwrap().is_some(), "the hello is answered");
        let refused = answers.message().await.expect_err("it is refused");
        assert!(is_invalid(&refused), "{append:?}: {refused}");
    }
    for vote in [v1::RaftVote { term: u64::MAX, committed: false, ..vote }, vote] {
        let request = v1::VoteRequest { header: Some(header), vote: Some(vote), ..Default::default() };
        assert!(is_invalid(&raft.vote(request).await.unwrap_err()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_comes_to_the_port_for_servers_ends_one() {
    let mut cluster = Cluster::start().await;
    let (clerk, leader) = (cluster.clerk(LONG), cluster.leader().await);
    clerk.put("key", "before").await.unwrap();
    let status = cluster.status(leader).await.unwrap();
    let header = v1::GroupHeader {
        cluster_id: status.cluster_id,
        group: 0,
        group_uid: status.group_uid,
        versions: Some(VERSIONS),
        ..v1::GroupHeader::default()
    };
    let mut handoff = HandoffClient::connect(cluster.peer_url(leader)).await.unwrap();
    for step in hostile_steps() {
        let request = v1::TakeStepRequest { header: Some(header), step: Some(step.clone()), memory_bytes: 0 };
        let refused = handoff.take_step(request).await.expect_err("it is refused");
        assert!(is_invalid(&refused), "{step:?}: {refused}");
    }
    for to in 0..3 {
        speak_as_a_leader(&cluster, to, (to + 1) % 3).await;
    }
    clerk.put("key", "after").await.unwrap();
    assert!((0..3).all(|server| !cluster.has_ended(server)));

    for server in 0..3 {
        cluster.servers[server].restart().await;
    }
    clerk.put("key", "again").await.unwrap();
    assert_eq!(clerk.get("key").await.unwrap().value, "again");
    assert!((0..3).all(|server| !cluster.has_ended(server)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_cannot_be_leaves_the_shard_manager_as_it_was() {
    let cluster = Cluster::start().await;
    let mut manager: ShardManagerClient<Channel> = cluster.manager().await;
    let map = async || {
        let answer = cluster.manager().await.get_shard_map(v1::GetShardMapRequest {}).await;
        answer.unwrap().into_inner()
    };
    // It is written once more when the group's leader has reported for the first time.
    until("the group has begun", || async { map().await.revision >= 2 }).await;
    let before = map().await;
    let replica = before.groups[0].replicas[0].clone();
    let request = v1::RegisterReplicaRequest {
        replica: Some(replica),
        cluster_id: before.cluster_id,
        map_revision: u64::MAX,
        ..Default::default()
    };
    assert!(is_invalid(&manager.register_replica(request).await.unwrap_err()));
    let move_ = v1::MoveRequest { request_id: "x".repeat(1 << 20), ..Default::default() };
    assert!(is_invalid(&manager.r#move(move_).await.unwrap_err()));
    let after = map().await;
    assert_eq!((after.revision, after.configuration), (before.revision, before.configuration));
}
