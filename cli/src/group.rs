//! `skv group`: changes of whole groups.
//!
//! - `members`: a group with its members, and a member by its name
//! - `reset`: revives a lost group; `survivors`: what is left of it; `choice`: the replica to revive it from;
//!   `screen`: the display meanwhile

mod choice;
mod members;
mod reset;
mod screen;
mod survivors;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use skv_proto::v1;
use skv_sharding::{GroupId, ReplicaId};

use self::members::{group_and_members, named};
use crate::admin::{self, Member};
use crate::completions;
use crate::outcome::Outcome;
use crate::output::{self, Format, Output, count};
use crate::resharding::{self, Change, EXIT_CODES, Flags};
use crate::target::{Target, explain};
use crate::watching::unless_interrupted;

/// Add and remove groups; hand over, shrink or revive one.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Let groups share the shards.
    ///
    /// Their servers must run and have registered. The other groups hand over as few shards as
    /// make it even, while all of them are served.
    #[command(after_help = format!("{EXIT_CODES}

Examples:
  skv group add g2 --dry-run   what would move, and how long it takes
  skv group add g2 g3
"))]
    Add {
        /// The groups, such as g2.
        #[arg(required = true, value_name = "GROUP", add = completions::groups())]
        groups: Vec<GroupId>,
        #[command(flatten)]
        flags: Flags,
    },
    /// Drain groups: the others take over their shards, while all of them are served.
    ///
    /// The groups go on without shards, and can be added again. Pins to them are taken back.
    #[command(after_help = format!("{EXIT_CODES}

Examples:
  skv group remove g2 --dry-run
  skv group remove g2
"))]
    Remove {
        /// The groups, such as g2.
        #[arg(required = true, value_name = "GROUP", add = completions::groups())]
        groups: Vec<GroupId>,
        #[command(flatten)]
        flags: Flags,
    },
    /// Hand the leadership of a group to another replica.
    #[command(after_help = "\
Examples:
  skv group transfer-leader g0
  skv group transfer-leader g0 --to quickstart-g0-2
")]
    TransferLeader {
        /// The group, such as g0.
        #[arg(add = completions::groups())]
        group: GroupId,
        /// The server or replica id that should lead [default: the voter that is furthest].
        #[arg(long, value_name = "REPLICA", add = completions::servers())]
        to: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Take a replica out of its group for good.
    ///
    /// A shard manager that wants more replicas than the group has then admits it again.
    #[command(after_help = "\
Example:
  skv group remove-replica g0 quickstart-g0-2 --yes
")]
    RemoveReplica {
        /// The group, such as g0.
        #[arg(add = completions::groups())]
        group: GroupId,
        /// The server or replica id to remove.
        #[arg(add = completions::servers())]
        replica: String,
        /// Say that the group may go on with one copy less.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Revive a group that has lost its majority for good, from one replica alone.
    ///
    /// Acknowledged writes that this replica hasn't seen are lost. It takes as long as writing the
    /// whole state does, and goes on if this command is stopped; the same command then waits for it.
    #[command(after_help = "\
Exit codes: 0 revived; 1 failed, stopped by Ctrl-C, or the loss isn't accepted; 4 not known yet whether the majority \
is lost: ask again in some seconds.

Examples:
  skv group reset g0                      what is left, and what is lost
  skv group reset g0 --accept-data-loss
")]
    Reset(reset::Args),
}

#[derive(Serialize)]
struct Transferred {
    group: GroupId,
    leader: String,
    before: String,
}

#[derive(Serialize)]
struct Removed {
    group: GroupId,
    removed: String,
}

pub(crate) async fn run(target: &Target, command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Add { groups, flags } => resharding::run(target, &Change::Join(groups), &flags).await,
        Command::Remove { groups, flags } => resharding::run(target, &Change::Leave(groups), &flags).await,
        Command::TransferLeader { group, to, output } => {
            target.announce();
            transfer_leader(target, group, to.as_deref(), output.format).await
        }
        Command::RemoveReplica { group, replica, yes, output } => {
            target.announce();
            remove_replica(target, group, &replica, yes, output.format).await
        }
        Command::Reset(args) => reset::run(target, &args).await,
    }
}

/// Returns the member that leads a group and reaches a majority.
fn leader(members: &[Member], group: GroupId) -> anyhow::Result<&Member> {
    let leading = members.iter().filter(|member| member.leads_a_quorum());
    let leader = leading.max_by_key(|member| member.status.as_ref().ok().map(v1::ReplicaStatus::reign));
    leader.with_context(|| format!("{group} has no leader now: see `skv status`"))
}

async fn transfer_leader(
    target: &Target,
    group: GroupId,
    to: Option<&str>,
    format: Format,
) -> anyhow::Result<Outcome> {
    let (_, members) = group_and_members(target, group).await?;
    let to = to.map(|name| named(&members, name)).transpose()?.map_or(0, |member| member.replica.id);
    let leader = leader(&members, group)?;
    let address = &leader.replica.peer_address;
    let meant = leader.status.as_ref().ok().and_then(v1::ReplicaStatus::identity);
    let request = v1::TransferLeaderRequest { group: group.0, to, meant };
    let mut client = admin::connect_patiently(target, address).await?;
    let answer = unless_interrupted(client.transfer_leader(request), || {
        let skv = output::this_command();
        anyhow!("stopped waiting. {group} may yet get another leader: `{skv} status` shows which it has")
    });
    let new = answer.await?.map_err(|status| explain(&status, address))?.into_inner().leader;
    let new = members
        .iter()
        .find(|member| member.replica.id == new)
        .map_or_else(|| ReplicaId(new).to_string(), |member| member.replica.server.clone());
    let before = leader.replica.server.clone();
    match format {
        Format::Json => output::print_json(&Transferred { group, leader: new, before })?,
        Format::Text => output::say(format_args!("{group} is led by {new}; before by {before}"))?,
    }
    Ok(Outcome::Done)
}

async fn remove_replica(
    target: &Target,
    group: GroupId,
    name: &str,
    yes: bool,
    format: Format,
) -> anyhow::Result<Outcome> {
    let (_, members) = group_and_members(target, group).await?;
    let removed = &named(&members, name)?.replica;
    if !yes {
        bail!(
            "{group} would go on with {}, without {}; say --yes",
            count(members.len() as u64 - 1, "member"),
            removed.server
        );
    }
    let leader = leader(&members, group)?;
    let (address, status) = (&leader.replica.peer_address, leader.status.as_ref());
    let group_uid = status.map_or(0, |status| status.group_uid);
    let request = v1::RemoveReplicaRequest { group: group.0, group_uid, replica: removed.id };
    let server = &removed.server;
    let mut client = admin::connect_patiently(target, address).await?;
    let answer = unless_interrupted(client.remove_replica(request), || {
        let skv = output::this_command();
        anyhow!(
            "stopped waiting. {server} may yet leave {group}: `{skv} status` shows whether it did, and the same \
             command completes what was begun"
        )
    });
    answer.await?.map_err(|status| explain(&status, address))?;
    match format {
        Format::Json => output::print_json(&Removed { group, removed: server.clone() })?,
        Format::Text => output::say(format_args!("{server} is no replica of {group} any more"))?,
    }
    Ok(Outcome::Done)
}
