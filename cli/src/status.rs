//! `skv status`.
//!
//! - `table`: as people read it

mod table;

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;
use serde::Serialize;
use skv_local::data_dir::read_record;
use skv_proto::v1;
use skv_proto::v1::ReplicaState;
use skv_sharding::{ClusterId, GroupId, ReplicaId};
use tokio::time::sleep;

use crate::admin::{self, Member, is_leader};
use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::target::Target;
use crate::{complaint, duration, shards};

/// Show every group and replica, and how they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 all replicas are ready, 1 not all are.

  SHARDS    shards that the group owns
  STATE     leader, follower, learner (receives the log, has no vote), candidate, waiting (for its place in a
            group), quarantined (its damaged files are kept), unreachable
  READY     it can serve, or vote and follow
  TERM      the number of elections that its group has seen
  APPLIED   entries of the log that are in its state: an entry holds many operations
  LOG       bytes of the log on disk; older entries go when a snapshot has what they did
  SESSIONS  clerks whose last answers are kept, so that a request that is sent again isn't applied again

Examples:
  skv status
  skv status --watch             again and again, until Ctrl-C
  skv status -o json
  skv --store quickstart status  of another store than the one that commands use
")]
pub(crate) struct Args {
    /// Show it again after this time [default: 2s], until Ctrl-C.
    #[arg(long, short, value_name = "TIME", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "2s", value_parser = duration::positive, value_hint = ValueHint::Other)]
    watch: Option<Duration>,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Status {
    /// The store, if it is one of this machine that was named, or chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Store>,
    cluster: ClusterId,
    configuration: u64,
    shards: u32,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Store {
    name: String,
    data_dir: PathBuf,
    manager_address: String,
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

/// A replica. What only it could tell is `null` while it can't be reached.
#[derive(Serialize)]
struct Replica {
    id: ReplicaId,
    server: String,
    client_address: String,
    peer_address: String,
    /// The process, of a store of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    state: &'static str,
    ready: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    problem: String,
    term: Option<u64>,
    last_log_index: Option<u64>,
    applied_index: Option<u64>,
    keys: Option<u64>,
    bytes: Option<u64>,
    sessions: Option<u64>,
    log_bytes: Option<u64>,
    disk_full: Option<bool>,
}

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    match args.watch {
        None => show(target, args.output.format).await,
        Some(every) => {
            tokio::select! {
                failed = watch(target, args.output.format, every) => failed,
                stopped = tokio::signal::ctrl_c() => Ok(stopped.map(|()| Outcome::Done)?),
            }
        }
    }
}

async fn watch(target: &Target, format: Format, every: Duration) -> anyhow::Result<Outcome> {
    loop {
        if io::stdout().is_terminal() && format == Format::Text {
            write!(io::stdout(), "\x1b[H\x1b[2J")?;
        }
        // What can't be reached now may be back soon; a reader that is gone won't.
        if let Err(error) = show(target, format).await {
            if error.downcast_ref::<io::Error>().is_some() {
                return Err(error);
            }
            writeln!(io::stderr(), "error: {}", complaint::text(&error))?;
        }
        sleep(every).await;
    }
}

async fn show(target: &Target, format: Format) -> anyhow::Result<Outcome> {
    let map = target.shard_map().await?;
    let members = admin::members_at_a_glance(target, &map).await;
    let local = target.local_store();
    let record = local.as_ref().and_then(|local| read_record(&local.data_dir).ok().flatten());
    let processes = record.into_iter().flat_map(|record| record.members);
    let pids = processes.filter_map(|member| Some((member.name, member.process?.pid))).collect();
    let mut groups: Vec<Group> =
        map.groups.iter().map(|group| Group::new(&map, group, &members, &pids)).collect();
    groups.sort_by_key(|group| group.id);
    let status = Status {
        store: local.map(|local| Store {
            name: local.name,
            data_dir: local.data_dir,
            manager_address: local.manager,
        }),
        cluster: ClusterId(map.cluster_id),
        configuration: map.configuration,
        shards: map.shards,
        groups,
    };
    match format {
        Format::Json => output::print_json(&status)?,
        Format::Text => table::print(&status)?,
    }
    let all_ready = status.groups.iter().all(|group| group.quorum && group.replicas.iter().all(|r| r.ready));
    Ok(if all_ready && !status.groups.is_empty() { Outcome::Done } else { Outcome::Failed })
}

impl Group {
    fn new(map: &v1::ShardMap, group: &v1::Group, members: &[Member], pids: &HashMap<String, u32>) -> Group {
        let members = || members.iter().filter(|member| member.group == GroupId(group.id));
        let leading = members().filter(|member| member.leads_a_quorum());
        let leader = leading.max_by_key(|member| member.status.as_ref().ok().map(v1::ReplicaStatus::reign));
        let mut replicas: Vec<Replica> = members().map(|member| Replica::new(member, pids)).collect();
        replicas.sort_by_cached_key(|replica| shards::in_order(&replica.server));
        Group {
            id: GroupId(group.id),
            shards: map.ranges.iter().filter(|range| range.group == group.id).map(|range| range.count).sum(),
            leader: leader.map(|member| member.replica.server.clone()),
            quorum: leader.is_some(),
            replicas,
        }
    }

    fn has_no_majority(&self) -> bool {
        !self.quorum
    }
}

impl Replica {
    fn new(member: &Member, pids: &HashMap<String, u32>) -> Replica {
        let status = member.status.as_ref().ok();
        let index = |log_id: Option<v1::LogId>| log_id.map_or(0, |log_id| log_id.index);
        let problem = match &member.status {
            Err(error) => complaint::text(error),
            Ok(status) if is_leader(status) && status.quorum_lost_ms > 0 => {
                format!("no majority has answered for {} s", status.quorum_lost_ms / 1000)
            }
            Ok(status) if status.disk_full => {
                "no room for its log, whose next file needs 16 MiB unless told otherwise: the disk is full, or takes \
                 no new file"
                    .to_owned()
            }
            Ok(status) => status.problem.clone(),
        };
        Replica {
            id: ReplicaId(member.replica.id),
            server: member.replica.server.clone(),
            client_address: member.replica.client_address.clone(),
            peer_address: member.replica.peer_address.clone(),
            pid: pids.get(&member.replica.server).copied(),
            state: status.map_or("unreachable", |status| state(status.state())),
            ready: status.is_some_and(|status| status.ready),
            problem,
            term: status.map(|status| status.term),
            last_log_index: status.map(|status| index(status.last_log)),
            applied_index: status.map(|status| index(status.applied)),
            keys: status.map(|status| status.keys),
            bytes: status.map(|status| status.bytes),
            sessions: status.map(|status| status.sessions),
            log_bytes: status.map(|status| status.log_bytes),
            disk_full: status.map(|status| status.disk_full),
        }
    }

    fn is_unreachable(&self) -> bool {
        self.state == "unreachable"
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
