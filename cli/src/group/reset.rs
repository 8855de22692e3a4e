//! `skv group reset`: it says what is left of a lost group, has a server revive it, and shows what is seen
//! meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{anyhow, bail};
use serde::Serialize;
use skv_local::screen::Stream;
use skv_proto::v1;
use skv_proto::v1::ReplicaState;
use skv_sharding::{GroupId, Incarnation};
use tokio::time::sleep;
use tonic::Status;

use super::choice::{Choice, chosen};
use super::members::group_and_members;
use super::screen::Screen;
use super::survivors::Survivors;
use crate::admin::{self, Member};
use crate::completions;
use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::target::{Target, explain};
use crate::watching::unless_interrupted;

/// The interval at which the server is asked for its progress.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group, such as g0.
    #[arg(add = completions::groups())]
    group: GroupId,
    /// The server or replica id to revive it from [default: the one with the newest log].
    #[arg(long, value_name = "REPLICA", add = completions::servers())]
    from: Option<String>,
    /// Say that writes may be lost.
    #[arg(long)]
    accept_data_loss: bool,
    /// Instead: remove what the servers keep of the group's former lives, from before it was reset.
    ///
    /// These may be the only copies of writes that were lost; there is no way back.
    #[arg(long, conflicts_with_all = ["from", "accept_data_loss"])]
    remove_former: bool,
    #[command(flatten)]
    output: Output,
}

/// The survivors of the group, and the group that was made of one.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    survivors: Survivors,
    /// Absent: the loss wasn't accepted, and nothing was done.
    revived: Option<Revived>,
}

#[derive(Serialize)]
struct Revived {
    incarnation: Incarnation,
    last_log_index: u64,
    /// The directory in which the server keeps the replica's former life.
    former_dir: String,
}

/// The reason why nothing could be done yet.
#[derive(Serialize)]
struct NotYet {
    group: GroupId,
    not_yet: String,
}

/// The bytes of a group's former lives that a server removed.
#[derive(Serialize)]
struct Removed {
    server: String,
    bytes: u64,
}

pub(super) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    let Args { group, output: Output { format }, .. } = *args;
    let (known, members) = group_and_members(target, group).await?;
    if args.remove_former {
        return remove_former(target, &known, &members, format).await;
    }
    let incarnations = members.iter().filter_map(|member| Some(member.status.as_ref().ok()?.incarnation));
    let newest = incarnations.fold(known.incarnation, u32::max);
    let chosen = match chosen(group, &members, newest, args.from.as_deref())? {
        Choice::Replica(chosen) => chosen,
        Choice::NotYet(reason) => return say_not_yet(group, reason, format),
    };
    let (survivors, name) = (Survivors::new(&known, newest, &members, chosen), &chosen.replica.server);
    if format == Format::Text {
        output::even_unread(survivors.print())?;
    }
    let index = chosen.status.as_ref().ok().and_then(|status| status.last_log).map_or(0, |last| last.index);
    if !args.accept_data_loss {
        if format == Format::Json {
            output::even_unread(output::print_json(&Report { survivors, revived: None }))?;
        }
        bail!(
            "{group} would be revived from {name} alone, whose log ends at {index}; what only other replicas \
             have is lost. If they are gone for good, say --accept-data-loss"
        );
    }
    let v1::ResetResponse { incarnation, last_log, former_dir } =
        revive(target, group, chosen, format).await?;
    let revived = Revived {
        incarnation: Incarnation(incarnation),
        last_log_index: last_log.map_or(0, |log_id| log_id.index),
        former_dir,
    };
    match format {
        Format::Json => output::print_json(&Report { survivors, revived: Some(revived) })?,
        Format::Text => {
            let Revived { incarnation, last_log_index, former_dir } = revived;
            output::say(format_args!(
                "{group} was revived from {name} as incarnation {incarnation}, with its log up to {last_log_index}"
            ))?;
            if !former_dir.is_empty() {
                output::say(format_args!(
                    "{name} keeps what it had before in {former_dir}; if nobody needs it any more: {} group reset \
                     {group} --remove-former",
                    output::this_command()
                ))?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// Says that it isn't known yet from which replica the group may be revived, if from any.
fn say_not_yet(group: GroupId, reason: String, format: Format) -> anyhow::Result<Outcome> {
    output::say_on(Stream::Err, format_args!("{reason}; ask again in some seconds"));
    if format == Format::Json {
        output::even_unread(output::print_json(&NotYet { group, not_yet: reason }))?;
    }
    Ok(Outcome::NotYet)
}

/// Has a server revive the group, however long it takes, and shows how far it is.
async fn revive(
    target: &Target,
    group: GroupId,
    Member { replica, status, .. }: &Member,
    format: Format,
) -> anyhow::Result<v1::ResetResponse> {
    let address = &replica.peer_address;
    let meant = status.as_ref().ok().and_then(v1::ReplicaStatus::identity);
    let mut client = admin::connect_patiently(target, address).await?;
    let mut screen = Screen::new(format!("{group} on {}", replica.server), format);
    let answer = client.reset(v1::ResetRequest { group: group.0, accept_data_loss: true, meant });
    let look = async {
        loop {
            sleep(LOOK_EVERY).await;
            let Ok(status) = admin::status(target, address, group).await else { continue };
            if status.state() == ReplicaState::Waiting {
                screen.show(&status);
            }
        }
    };
    let reset = async {
        tokio::select! {
            answer = answer => answer,
            () = look => unreachable!("it looks again and again"),
        }
    };
    let answer = unless_interrupted(Box::pin(reset), || {
        let skv = output::this_command();
        anyhow!(
            "stopped waiting. {} goes on with the reset of {group}: `{skv} status` shows it, and the same command \
             waits for it",
            replica.server
        )
    });
    Ok(answer.await?.map_err(|status| unanswered(&status, address))?.into_inner())
}

/// Has every member of a group that answers remove what it keeps of the group's former lives. Servers that aren't
/// members, which members know of, keep what they have: these are named.
async fn remove_former(
    target: &Target,
    known: &v1::Group,
    members: &[Member],
    format: Format,
) -> anyhow::Result<Outcome> {
    let group = GroupId(known.id);
    let cluster_id = target.shard_map().await?.cluster_id;
    let request = v1::RemoveFormerRequest { group: known.id, cluster_id, group_uid: known.uid };
    let (mut removed, mut problems) = (Vec::new(), Vec::new());
    for Member { replica, .. } in members {
        let address = &replica.peer_address;
        let answer = async {
            let mut client = admin::connect_patiently(target, address).await?;
            let answer = client.remove_former(request).await;
            anyhow::Ok(answer.map_err(|status| explain(&status, address))?.into_inner().bytes)
        };
        match answer.await {
            Ok(bytes) => removed.push(Removed { server: replica.server.clone(), bytes }),
            Err(error) => problems.push(format!("{}: {error:#}", replica.server)),
        }
    }
    output::even_unread(match format {
        Format::Json => output::print_json(&removed),
        Format::Text => removed.iter().try_for_each(|Removed { server, bytes }| {
            let bytes = output::bytes(*bytes);
            output::say(format_args!("{server}: {bytes} of former lives of {group} are removed"))
        }),
    })?;
    problems.extend(not_asked(members).into_iter().map(|server| {
        format!(
            "{server} wasn't asked, since it is no member of {group} by the shard map: repeat this when it is, or \
             remove former/{group}-* in its data directory"
        )
    }));
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    Ok(Outcome::Done)
}

/// Returns the servers that members know as members, and the shard map doesn't.
fn not_asked(members: &[Member]) -> BTreeSet<&str> {
    let memberships = members
        .iter()
        .filter_map(|member| member.status.as_ref().ok()?.membership.as_ref()?.membership.as_ref());
    let known = memberships.flat_map(|membership| &membership.members).map(|member| member.server.as_str());
    known.filter(|server| members.iter().all(|member| member.replica.server != *server)).collect()
}

/// A server that was lost amid it may have done it, or do it yet.
fn unanswered(status: &Status, address: &str) -> anyhow::Error {
    let error = explain(status, address);
    if skv_proto::Error::from_status(status).is_some() {
        return error;
    }
    error.context(
        "it isn't known whether the group is revived: see `skv status` before another replica is tried",
    )
}
