//! `skv status`.

use comfy_table::{Cell, Color};
use serde::Serialize;
use skv_proto::v1;
use skv_proto::v1::ReplicaState;
use skv_sharding::{ClusterId, GroupId, ReplicaId};

use crate::admin::{self, Member, is_leader};
use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::target::Target;

/// Show every group and replica, and how they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 all replicas are ready, 1 not all are.")]
pub(crate) struct Args {
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Status {
    cluster: ClusterId,
    configuration: u64,
    shards: u32,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    id: GroupId,
    shards: u32,
    leader: Option<String>,
    /// True if a leader reaches a majority.
    quorum: bool,
    replicas: Vec<Replica>,
}

#[derive(Serialize)]
struct Replica {
    id: ReplicaId,
    server: String,
    client_address: String,
    peer_address: String,
    state: &'static str,
    ready: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    problem: String,
    term: u64,
    last_log_index: u64,
    applied_index: u64,
    keys: u64,
    bytes: u64,
    sessions: u64,
    log_bytes: u64,
    disk_full: bool,
    memory_full: bool,
}

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    let map = target.shard_map().await?;
    let members = admin::members(target, &map).await;
    let status = Status {
        cluster: ClusterId(map.cluster_id),
        configuration: map.configuration,
        shards: map.shards,
        groups: map.groups.iter().map(|group| Group::new(&map, group, &members)).collect(),
    };
    match args.output.format {
        Format::Json => output::print_json(&status)?,
        Format::Text => print(&status)?,
    }
    let all_ready = status.groups.iter().all(|group| group.quorum && group.replicas.iter().all(|r| r.ready));
    Ok(if all_ready && !status.groups.is_empty() { Outcome::Done } else { Outcome::Failed })
}

impl Group {
    fn new(map: &v1::ShardMap, group: &v1::Group, members: &[Member]) -> Group {
        let members = || members.iter().filter(|member| member.group == GroupId(group.id));
        let leading = members().filter(|member| member.leads_a_quorum());
        let leader = leading.max_by_key(|member| member.status.as_ref().ok().map(v1::ReplicaStatus::reign));
        Group {
            id: GroupId(group.id),
            shards: map.ranges.iter().filter(|range| range.group == group.id).map(|range| range.count).sum(),
            leader: leader.map(|member| member.replica.server.clone()),
            quorum: leader.is_some(),
            replicas: members().map(Replica::new).collect(),
        }
    }
}

impl Replica {
    fn new(member: &Member) -> Replica {
        let status = member.status.as_ref().cloned().unwrap_or_default();
        let index = |log_id: Option<v1::LogId>| log_id.map_or(0, |log_id| log_id.index);
        let problem = match &member.status {
            Err(error) => format!("{error:#}"),
            Ok(status) if is_leader(status) && status.quorum_lost_ms > 0 => {
                format!("no majority has answered for {} s", status.quorum_lost_ms / 1000)
            }
            Ok(status) if status.disk_full => {
                "no room for its log: the disk is full, or takes no new file".to_owned()
            }
            Ok(status) if status.memory_full => {
                "no room in memory: what makes the data grow is refused".to_owned()
            }
            Ok(status) => status.problem.clone(),
        };
        Replica {
            id: ReplicaId(member.replica.id),
            server: member.replica.server.clone(),
            client_address: member.replica.client_address.clone(),
            peer_address: member.replica.peer_address.clone(),
            state: if member.status.is_ok() { state(status.state()) } else { "unreachable" },
            ready: status.ready,
            problem,
            term: status.term,
            last_log_index: index(status.last_log),
            applied_index: index(status.applied),
            keys: status.keys,
            bytes: status.bytes,
            sessions: status.sessions,
            log_bytes: status.log_bytes,
            disk_full: status.disk_full,
            memory_full: status.memory_full,
        }
    }
}

fn state(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::Unspecified => "unknown",
        ReplicaState::Waiting => "waiting",
        ReplicaState::Learner => "learner",
        ReplicaState::Follower => "follower",
        ReplicaState::Candidate => "candidate",
        ReplicaState::Leader => "leader",
        ReplicaState::Broken => "broken",
        ReplicaState::Stopped => "stopped",
    }
}

fn print(status: &Status) -> anyhow::Result<()> {
    output::say(format_args!(
        "cluster {}  configuration {}  {} shards in {} groups",
        status.cluster,
        status.configuration,
        status.shards,
        status.groups.len()
    ))?;
    let mut table = output::table([
        "GROUP", "SHARDS", "SERVER", "ADDRESS", "STATE", "READY", "TERM", "APPLIED", "KEYS", "DATA", "LOG",
        "SESSIONS", "PROBLEM",
    ]);
    for group in &status.groups {
        for replica in &group.replicas {
            let state_colour = match replica.state {
                "leader" => Color::Cyan,
                "follower" => Color::Reset,
                "learner" | "candidate" | "waiting" => Color::Yellow,
                _ => Color::Red,
            };
            let ready_colour = if replica.ready { Color::Green } else { Color::Red };
            table.add_row([
                Cell::new(group.id),
                Cell::new(group.shards),
                Cell::new(&replica.server),
                Cell::new(&replica.client_address),
                Cell::new(replica.state).fg(state_colour),
                Cell::new(if replica.ready { "yes" } else { "no" }).fg(ready_colour),
                Cell::new(replica.term),
                Cell::new(replica.applied_index),
                Cell::new(replica.keys),
                Cell::new(output::bytes(replica.bytes)),
                Cell::new(output::bytes(replica.log_bytes)),
                Cell::new(replica.sessions),
                Cell::new(&replica.problem).fg(Color::Red),
            ]);
        }
    }
    output::print_table(table)
}
