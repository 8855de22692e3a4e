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
use skv_local::screen::{Screen, Stream};
use skv_local::wanted::{self, Turn};
use skv_proto::v1;
use skv_sharding::{GroupId, GroupUid};
use skv_turnover::{Assignment, Group};
use tokio::time::{sleep, timeout};

use super::ends::{Ends, hopeless};
use super::turnover::{Step, group, next};
use crate::outcome::Outcome;
use crate::resharding::{self, Change, Flags};
use crate::target::{Target, explain};
use crate::watching::unless_interrupted;
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
    stream: Stream,
) -> anyhow::Result<bool> {
    if running(path)?.shape.ring().is_some() {
        // Its groups are those of its shape, which the manifest has too.
        return Ok(false);
    }
    let turn = Turn::take(path)?;
    let mut changed = false;
    let mut people = People { path, screen, stream, waited_for: None, problem: None, ends: Ends::default() };
    loop {
        let record = running(path)?;
        people.tell(&record)?;
        if let Some(wanted) = wanted::wanted(path)?.filter(|wanted| *wanted != record.groups()) {
            // The run that wanted them was killed before that was done.
            let why = format!("waiting for the servers of exactly {} to run", GroupId::list(&wanted));
            people.wait(&why).await;
            continue;
        }
        let manager = record.manager_address().context("the record of the store names no shard manager")?;
        let target = Target::of_managers([manager], patience);
        // The servers come first: their word on a group that the manager forgets meanwhile is final.
        let groups = groups(&target, &record).await;
        let step = next(count, &groups, &assignment(&target).await?);
        match &step {
            Step::Done => {
                if changed {
                    output::say_on(
                        stream,
                        format_args!("{} has {}", record.shape.name, GroupId::list(&record.groups())),
                    );
                }
                return Ok(changed);
            }
            Step::Run(wanted) => run_servers(&turn, &record, wanted, &mut people).await?,
            Step::Join(groups) => change(&target, stream, Change::Join(groups.clone())).await?,
            Step::Leave(groups) => change(&target, stream, Change::Remove(groups.clone())).await?,
            Step::Follow => change(&target, stream, Change::Rebalance).await?,
            Step::Retire { group, uid, server } => match retire(&target, &record, *group, *uid, server).await
            {
                Ok(()) => output::say_on(stream, format_args!("{group} is empty, and is retired")),
                // The group may have another leader by now, or the outcome isn't known.
                Err(error) => people.wait(&format!("{group} isn't retired yet: {error:#}")).await,
            },
            Step::Wait(why) => people.wait(why).await,
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
    let work = Box::pin(run(path, count, patience, Some(screen), screen.stream()));
    let outcome = unless_interrupted(work, || {
        anyhow::anyhow!(
            "stopped. The store goes on as it is, and shards that are under way move on; `{} apply` goes on with \
             the rest",
            output::this_command()
        )
    });
    outcome.await.inspect_err(|_| screen.end())?
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
pub(super) async fn groups(target: &Target, record: &Record) -> BTreeMap<GroupId, Group> {
    let asked = record.groups().into_iter().map(async |id| {
        let statuses = join_all(record.servers(id).map(async |member| {
            let status = timeout(STATUS_WITHIN, admin::status(target, &member.peer_address()?, id)).await;
            Some((member.name.clone(), status.ok()?.ok()?))
        }));
        (id, group(&statuses.await.into_iter().flatten().collect()))
    });
    join_all(asked).await.into_iter().collect()
}

pub(super) async fn assignment(target: &Target) -> anyhow::Result<Assignment> {
    let map = manager::shard_map(target).await?;
    Ok(Assignment::of(&map, &manager::configuration(target, None).await?))
}

/// Has the supervisor start and stop servers, and waits until new ones are ready and surplus ones
/// are gone.
async fn run_servers(
    turn: &Turn<'_>,
    before: &Record,
    wanted: &BTreeSet<GroupId>,
    people: &mut People<'_>,
) -> anyhow::Result<()> {
    let People { path, screen, stream, .. } = *people;
    let there = before.groups();
    let (new, gone) = (GroupId::list(wanted.difference(&there)), GroupId::list(there.difference(wanted)));
    if !gone.is_empty() {
        output::say_on(stream, format_args!("{gone}: stopping the servers and removing their data"));
    }
    if !new.is_empty() {
        output::say_on(stream, format_args!("{new}: starting the servers"));
    }
    turn.want(wanted)?;
    let record = loop {
        let record = running(path)?;
        if record.groups() == *wanted {
            break record;
        }
        people.tell(&record)?;
        sleep(POLL).await;
    };
    let is_new = |member: &&Member| member.group().is_some_and(|group| !there.contains(&group));
    let members: Vec<Member> = record.members.iter().filter(is_new).cloned().collect();
    if members.is_empty() {
        return Ok(());
    }
    let all_ready = ready::wait_for_all(&members, screen);
    let failure = async {
        loop {
            sleep(POLL).await;
            match running(path).and_then(|record| people.tell_of_new(&record, &members)) {
                Ok(()) => {}
                Err(error) => break error,
            }
        }
    };
    tokio::select! {
        () = all_ready => Ok(()),
        error = failure => {
            if let Some(screen) = screen {
                screen.end();
            }
            Err(error)
        }
    }
}

/// Makes a change of the assignment and watches it to its end.
async fn change(target: &Target, stream: Stream, change: Change) -> anyhow::Result<()> {
    match resharding::run(target, &change, &Flags::on(stream)).await? {
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

/// The people who wait, and what they were told.
struct People<'a> {
    path: &'a Path,
    /// None if the supervisor is this process: it shows itself how its servers are.
    screen: Option<&'a Screen>,
    stream: Stream,
    waited_for: Option<String>,
    problem: Option<String>,
    ends: Ends,
}

impl People<'_> {
    /// Says once what they wait for, and waits for a moment.
    async fn wait(&mut self, why: &str) {
        if self.waited_for.as_deref() != Some(why) {
            output::say_on(self.stream, why);
            self.waited_for = Some(why.to_owned());
        }
        sleep(POLL).await;
    }

    /// Says once each reason for which servers don't run that ought to. Fails if that is hopeless for all
    /// servers of a group.
    fn tell(&mut self, record: &Record) -> anyhow::Result<()> {
        if let Some(screen) = self.screen {
            self.ends.news(&record.members, self.path).iter().for_each(|line| screen.say(line));
            if self.problem != record.problem {
                if let Some(problem) = &record.problem {
                    screen.say(&format!("the groups can't be changed yet: {problem}"));
                }
                self.problem.clone_from(&record.problem);
            }
        }
        for group in record.groups() {
            let servers: Option<Vec<String>> = record.servers(group).map(hopeless).collect();
            if let Some(whats) = servers.filter(|whats| !whats.is_empty()) {
                return Err(gave_up(&whats.join(", ")));
            }
        }
        Ok(())
    }

    /// The same; fails also if it is hopeless for one of these new servers.
    fn tell_of_new(&mut self, record: &Record, new: &[Member]) -> anyhow::Result<()> {
        self.tell(record)?;
        let is_new = |member: &&Member| new.iter().any(|new| new.name == member.name);
        match record.members.iter().filter(is_new).find_map(hopeless) {
            Some(what) => Err(gave_up(&what)),
            None => Ok(()),
        }
    }
}

fn gave_up(what: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{what}. The store goes on as it is, and starts them again and again; once they run, `{} apply` goes on \
         with the rest",
        output::this_command()
    )
}
