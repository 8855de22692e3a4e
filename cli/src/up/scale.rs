//! Brings a running store to another number of groups, step by step (`turnover`), through its shard
//! manager, its servers, and `wanted.json`.
//!
//! Nothing is remembered here between two steps: it can be killed at any time, and the next run
//! continues.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::future::join_all;
use skv_local::data_dir::read_record;
use skv_local::process::ProcessId;
use skv_local::ready;
use skv_local::record::{Member, Record};
use skv_local::screen::Screen;
use skv_local::wanted::{self, Turn};
use skv_proto::v1;
use skv_sharding::{GroupId, GroupUid};
use skv_turnover::{Assignment, Group};
use tokio::time::{sleep, timeout};

use super::turnover::{Step, group, next};
use crate::outcome::Outcome;
use crate::resharding::{self, Change, Flags};
use crate::target::{Target, explain};
use crate::{admin, manager, output};

/// The pause between two looks while it waits.
const POLL: Duration = Duration::from_millis(200);
/// A server that doesn't return its status within this time doesn't count.
const STATUS_WITHIN: Duration = Duration::from_secs(2);

/// Gives the store in this directory `count` groups; returns true if anything had to be done. The
/// start of servers is shown on this screen, if there is one.
pub(super) async fn run(
    path: &Path,
    count: u32,
    patience: Duration,
    screen: Option<&Screen>,
) -> anyhow::Result<bool> {
    if running(path)?.shape.ring().is_some() {
        // Its groups are those of its shape, which the manifest has too.
        return Ok(false);
    }
    let turn = Turn::take(path)?;
    let mut changed = false;
    let mut waited_for = None;
    loop {
        let record = running(path)?;
        if let Some(wanted) = wanted::wanted(path)?.filter(|wanted| *wanted != record.groups()) {
            // The run that wanted them was killed before that was done.
            let why = format!("waiting for the servers of exactly {} to run", GroupId::list(&wanted));
            wait(&mut waited_for, &why).await?;
            continue;
        }
        let manager = record.manager_address().context("the record of the store names no shard manager")?;
        let target = Target::of_manager(manager, patience);
        // The servers come first: their word on a group that the manager forgets meanwhile is final.
        let groups = groups(&target, &record).await;
        let step = next(count, &groups, &assignment(&target).await?);
        match &step {
            Step::Done => {
                if changed {
                    output::say(format_args!(
                        "{} has {}",
                        record.shape.name,
                        GroupId::list(&record.groups())
                    ))?;
                }
                return Ok(changed);
            }
            Step::Run(wanted) => run_servers(path, &turn, &record, wanted, screen).await?,
            Step::Join(groups) => change(&target, Change::Join(groups.clone())).await?,
            Step::Leave(groups) => change(&target, Change::Remove(groups.clone())).await?,
            Step::Follow => change(&target, Change::Rebalance).await?,
            Step::Retire { group, uid, server } => match retire(&target, &record, *group, *uid, server).await
            {
                Ok(()) => output::say(format_args!("{group} is empty, and is retired"))?,
                // The group may have another leader by now, or the outcome isn't known.
                Err(error) => wait(&mut waited_for, &format!("{group} isn't retired yet: {error:#}")).await?,
            },
            Step::Wait(why) => wait(&mut waited_for, why).await?,
        }
        changed = true;
    }
}

/// The same, until the user presses Ctrl-C.
pub(super) async fn run_until_stopped(
    path: &Path,
    count: u32,
    patience: Duration,
    screen: &Screen,
) -> anyhow::Result<bool> {
    tokio::select! {
        biased;
        stopped = tokio::signal::ctrl_c() => {
            stopped?;
            screen.end();
            bail!(
                "stopped. The store goes on as it is, and shards that are under way move on; `{} apply` goes on \
                 with the rest",
                output::this_command()
            );
        }
        outcome = run(path, count, patience, Some(screen)) => outcome,
    }
}

/// Returns the record of the store that runs in a directory.
pub(super) fn running(path: &Path) -> anyhow::Result<Record> {
    let record = read_record(path)?.with_context(|| {
        format!(
            "there is no store in {}: start it with `skv up -f FILE`, or name its directory with --data-dir",
            path.display()
        )
    })?;
    if !record.supervisor.as_ref().is_some_and(ProcessId::is_alive) {
        bail!(
            "{} in {} isn't running: start it with `skv up -f FILE`, which gives it the number of groups in FILE",
            record.shape.name,
            path.display()
        );
    }
    Ok(record)
}

/// Asks the servers of each group.
async fn groups(target: &Target, record: &Record) -> BTreeMap<GroupId, Group> {
    let asked = record.groups().into_iter().map(async |id| {
        let statuses = join_all(record.servers(id).map(async |member| {
            let status = timeout(STATUS_WITHIN, admin::status(target, &member.peer_address()?, id)).await;
            Some((member.name.clone(), status.ok()?.ok()?))
        }));
        (id, group(&statuses.await.into_iter().flatten().collect()))
    });
    join_all(asked).await.into_iter().collect()
}

async fn assignment(target: &Target) -> anyhow::Result<Assignment> {
    let map = manager::shard_map(target).await?;
    Ok(Assignment::of(&map, &manager::configuration(target, None).await?))
}

/// Has the supervisor start and stop servers, and waits until new ones are ready and surplus ones
/// are gone.
async fn run_servers(
    path: &Path,
    turn: &Turn<'_>,
    before: &Record,
    wanted: &BTreeSet<GroupId>,
    screen: Option<&Screen>,
) -> anyhow::Result<()> {
    let there = before.groups();
    let (new, gone) = (GroupId::list(wanted.difference(&there)), GroupId::list(there.difference(wanted)));
    if !gone.is_empty() {
        output::say(format_args!("{gone}: stopping the servers and removing their data"))?;
    }
    if !new.is_empty() {
        output::say(format_args!("{new}: starting the servers"))?;
    }
    turn.want(wanted)?;
    let record = loop {
        let record = running(path)?;
        if record.groups() == *wanted {
            break record;
        }
        sleep(POLL).await;
    };
    let is_new = |member: &&Member| member.group().is_some_and(|group| !there.contains(&group));
    let members: Vec<Member> = record.members.iter().filter(is_new).cloned().collect();
    if members.is_empty() {
        return Ok(());
    }
    let all_ready = ready::wait_for_all(&members, screen);
    let stopped = async {
        loop {
            sleep(POLL).await;
            if let Err(error) = running(path) {
                break error;
            }
        }
    };
    tokio::select! {
        () = all_ready => Ok(()),
        error = stopped => Err(error),
    }
}

/// Makes a change of the assignment and watches it to its end.
async fn change(target: &Target, change: Change) -> anyhow::Result<()> {
    match resharding::run(target, &change, &Flags::default()).await? {
        Outcome::Done => Ok(()),
        _ => bail!("stopped before every shard was there"),
    }
}

/// Has the leader of a group, which is on this server, retire it.
async fn retire(
    target: &Target,
    record: &Record,
    group: GroupId,
    uid: GroupUid,
    server: &str,
) -> anyhow::Result<()> {
    let leads = |member: &&Member| member.name == server;
    let address = record.servers(group).find(leads).and_then(Member::peer_address);
    let address = address.with_context(|| format!("the record of the store names no {server}"))?;
    let request = v1::RetireRequest { group: group.0, group_uid: uid.0 };
    let answer = admin::connect(target, &address).await?.retire(request).await;
    answer.map_err(|status| explain(&status, &address))?;
    Ok(())
}

/// Prints once the reason for waiting.
async fn wait(waited_for: &mut Option<String>, why: &str) -> anyhow::Result<()> {
    if waited_for.as_deref() != Some(why) {
        output::say(why)?;
        *waited_for = Some(why.to_owned());
    }
    sleep(POLL).await;
    Ok(())
}
