//! `skv group reset`: revives a lost group from one replica, and shows the progress.

use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use skv_proto::v1;
use skv_proto::v1::ReplicaState;
use skv_sharding::{GroupId, Incarnation};
use tokio::time::sleep;
use tonic::Status;

use super::members::{group_and_members, named};
use crate::admin::{self, Member, is_leader};
use crate::outcome::Outcome;
use crate::output;
use crate::target::{Target, explain};

/// The interval at which the server is asked for its progress.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(
    target: &Target,
    group: GroupId,
    from: Option<&str>,
    accept_data_loss: bool,
) -> anyhow::Result<Outcome> {
    let (known, members) = group_and_members(target, group).await?;
    let incarnations = members.iter().filter_map(|member| Some(member.status.as_ref().ok()?.incarnation));
    let newest = incarnations.fold(known.incarnation, u32::max);
    let is_of_newest =
        |member: &&Member| member.status.as_ref().is_ok_and(|status| status.incarnation == newest);
    if let Some(leader) = members.iter().filter(is_of_newest).find(|member| member.leads_a_quorum()) {
        bail!("{group} needs no reset: {} leads it and reaches a majority", leader.replica.server);
    }
    let chosen = match from {
        Some(name) => named(&members, name)?,
        None => members.iter().max_by_key(|member| progress(member)).context("the group has no replica")?,
    };
    let name = &chosen.replica.server;
    let status = chosen.status.as_ref().map_err(|error| anyhow::anyhow!("{name}: {error:#}"))?;
    if status.group_uid != 0 && status.incarnation < newest {
        bail!(
            "{name} has {group} as it was in incarnation {}; it was revived since, as incarnation {}: revive it from \
             a replica of that one",
            Incarnation(status.incarnation),
            Incarnation(newest)
        );
    }
    if !accept_data_loss {
        bail!(
            "{group} would be revived from {name} alone, whose log ends at {}; what only other replicas \
             have is lost. If they are gone for good, say --accept-data-loss",
            status.last_log.map_or(0, |log_id| log_id.index)
        );
    }
    let v1::ResetResponse { incarnation, last_log } = revive(target, group, &chosen.replica).await?;
    output::say(format_args!(
        "{group} was revived from {name} as incarnation {}, with its log up to {}",
        Incarnation(incarnation),
        last_log.map_or(0, |log_id| log_id.index)
    ))?;
    Ok(Outcome::Done)
}

/// Returns the key by which replicas are ordered by progress; those without an answer come first.
/// Logs of an older incarnation belong to another history. Within one the term counts before the
/// length: a leader that was deposed may have much that was never acknowledged.
fn progress(member: &Member) -> Option<(u32, u64, u64, bool)> {
    let status = member.status.as_ref().ok()?;
    let last = status.last_log.unwrap_or_default();
    Some((status.incarnation, last.term, last.index, is_leader(status)))
}

/// Has a server revive the group, however long it takes, and shows its progress.
async fn revive(target: &Target, group: GroupId, replica: &v1::Replica) -> anyhow::Result<v1::ResetResponse> {
    let address = &replica.peer_address;
    let mut client = admin::connect_patiently(target, address).await?;
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    let answer = client.reset(v1::ResetRequest { group: group.0, accept_data_loss: true });
    let look = async {
        let mut before = String::new();
        loop {
            sleep(LOOK_EVERY).await;
            let Ok(status) = admin::status(target, address, group).await else { continue };
            if status.state() == ReplicaState::Waiting && status.problem != before {
                let line = format!("{group} on {}: {}", replica.server, status.problem);
                bar.set_message(line.clone());
                if bar.is_hidden() {
                    let _ = output::say(line);
                }
                before = status.problem;
            }
        }
    };
    let answer = tokio::select! {
        answer = answer => answer,
        () = look => unreachable!("it looks again and again"),
    };
    bar.finish_and_clear();
    Ok(answer.map_err(|status| unanswered(&status, address))?.into_inner())
}

/// Explains that a server whose connection broke may have revived the group, or may do so later.
fn unanswered(status: &Status, address: &str) -> anyhow::Error {
    let error = explain(status, address);
    if skv_proto::Error::from_status(status).is_some() {
        return error;
    }
    error.context(
        "it isn't known whether the group is revived: see `skv status` before another replica is tried",
    )
}
