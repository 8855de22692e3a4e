//! Keeps the processes of a store running until it is ordered to stop: those of the groups that are
//! wanted, which may change at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use skv_resource::Manifest;
use skv_sharding::GroupId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::binaries::Binaries;
use crate::data_dir::{DataDir, Presence};
use crate::keeper::{Keeper, Orders, Stop, Store};
use crate::launch::launch;
use crate::process::ProcessId;
use crate::record::{Member, Record, Role};
use crate::screen::Screen;
use crate::{operations, ports, rotation, wanted};

/// The time between two looks at the wanted groups.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The running processes of a store, and all that is needed to start more.
struct Supervisor<'a> {
    store: Arc<Store>,
    resource: &'a Manifest,
    binaries: &'a Binaries,
    processors: u32,
    orders: watch::Sender<Orders>,
    manager: JoinSet<()>,
    groups: BTreeMap<GroupId, Servers>,
    /// The servers that all groups share, in a ring.
    ring: Servers,
}

/// The servers of a group, or of the ring.
#[derive(Default)]
struct Servers {
    keepers: JoinSet<()>,
    /// The tasks that show the operations of the servers; they end with them.
    followers: JoinSet<()>,
}

/// Starts everything, shows when it is ready, then runs `when_ready`; returns when it was ordered to stop
/// and everything has ended.
pub async fn run(
    dir: DataDir,
    mut record: Record,
    resource: &Manifest,
    binaries: &Binaries,
    screen: &Screen,
    when_ready: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    record.supervisor = ProcessId::of(std::process::id());
    dir.save(&record)?;
    let members = record.members.clone();
    let store = Arc::new(Store::new(dir, record, screen.clone()));
    let mut supervisor = Supervisor {
        store: Arc::clone(&store),
        resource,
        binaries,
        processors: std::thread::available_parallelism().map_or(1, usize::from) as u32,
        orders: watch::Sender::default(),
        manager: JoinSet::new(),
        groups: BTreeMap::new(),
        ring: Servers::default(),
    };
    let mut all_ready = supervisor.start(members);
    let small_logs = rotation::keep_small(store.dir.path().join("logs"));
    let begin = async {
        // Nothing is sent: the channel ends when all have dropped their ends of it.
        all_ready.recv().await;
        screen.summary(&store.record(), store.dir.path());
        if let Err(error) = when_ready.await {
            screen.say(&format!("error: {error:#}"));
        }
        std::future::pending::<()>().await;
    };
    let mut first_stop = Stop::Nothing;
    tokio::select! {
        biased;
        () = signals.next() => {}
        stop = until_gone(&store) => first_stop = stop,
        () = supervisor.follow_wanted() => {}
        () = begin => {}
        () = small_logs => {}
    }
    screen.end();
    if first_stop == Stop::Nothing {
        screen.say("stopping; once more stops without waiting");
    }
    supervisor.stop(first_stop, &mut signals).await;
    store.change_record(|record| {
        record.supervisor = None;
        Ok(())
    })?;
    screen.say("stopped");
    anyhow::ensure!(first_stop == Stop::Nothing, "the data directory is gone");
    Ok(())
}

impl Supervisor<'_> {
    /// Starts processes. The returned channel ends when all of them have been ready once.
    fn start(&mut self, members: Vec<Member>) -> mpsc::Receiver<Infallible> {
        let Supervisor { store, resource, binaries, processors, .. } = self;
        let (starting, all_ready) = mpsc::channel(1);
        let (record, dir) = (store.record(), store.dir.path());
        store.screen.begin(members.iter().map(|member| member.name.clone()));
        for member in members {
            let launch = launch(resource, &record, &member, dir, binaries, *processors);
            let (name, log, role) = (member.name.clone(), launch.log.clone(), member.role.clone());
            let orders = self.orders.subscribe();
            let keeper = Keeper { store: Arc::clone(store), orders, member, launch }.run(starting.clone());
            let servers = match role {
                Role::Manager => {
                    self.manager.spawn(keeper);
                    continue;
                }
                Role::Server { group, .. } => self.groups.entry(group).or_default(),
                Role::RingServer { .. } => &mut self.ring,
            };
            // In the background nobody looks: `skv logs` shows what each server has in its log anyway.
            if resource.spec.server.log_operations && !store.screen.is_detached() {
                servers.followers.spawn(operations::follow(name, log, store.screen.clone()));
            }
            servers.keepers.spawn(keeper);
        }
        all_ready
    }

    /// Has the servers of the wanted groups run, now and whenever those change.
    async fn follow_wanted(&mut self) {
        let mut problem = None;
        loop {
            sleep(LOOK_EVERY).await;
            let new = self.look_at_wanted().await.err().map(|error| format!("{error:#}"));
            if new == problem {
                continue;
            }
            if let Some(new) = &new {
                self.store.screen.say(&format!("the groups can't be changed: {new}"));
            }
            problem = new;
            let remembered = self.store.change_record(|record| {
                record.problem.clone_from(&problem);
                Ok(())
            });
            if let Err(error) = remembered {
                self.store.screen.say(&format!("{error:#}"));
            }
        }
    }

    async fn look_at_wanted(&mut self) -> anyhow::Result<()> {
        let Some(wanted) = wanted::wanted(self.store.dir.path())? else { return Ok(()) };
        for group in self.store.record().groups().difference(&wanted) {
            self.remove(*group).await?;
        }
        let new: BTreeSet<GroupId> =
            wanted.into_iter().filter(|group| !self.groups.contains_key(group)).collect();
        if !new.is_empty() {
            self.add(&new)?;
        }
        Ok(())
    }

    fn add(&mut self, groups: &BTreeSet<GroupId>) -> anyhow::Result<()> {
        self.store.change_record(|record| {
            record.have_groups(&(&record.groups() | groups));
            ports::choose_missing(record)
        })?;
        let record = self.store.record();
        // The caller that wants these groups waits until they are ready; nothing here depends on it.
        drop(self.start(groups.iter().flat_map(|group| record.servers(*group)).cloned().collect()));
        Ok(())
    }

    /// Stops the servers of a group and removes their data. It can be broken off, and is done again then.
    async fn remove(&mut self, group: GroupId) -> anyhow::Result<()> {
        self.orders.send_modify(|orders| _ = orders.leaving.insert(group));
        if let Some(servers) = self.groups.get_mut(&group) {
            while servers.keepers.join_next().await.is_some() {}
        }
        self.groups.remove(&group);
        self.orders.send_modify(|orders| _ = orders.leaving.remove(&group));
        let store = &self.store;
        for member in store.record().servers(group) {
            store.screen.forget(&member.name);
            store.dir.forget(member)?;
        }
        store.change_record(|record| {
            let mut others = record.groups();
            others.remove(&group);
            record.have_groups(&others);
            Ok(())
        })?;
        store.screen.say(&format!("{group} is no more: its servers have stopped, and their data is removed"));
        Ok(())
    }

    /// Stops everything, in order; without waiting if `first` says so, or once a second signal comes.
    async fn stop(&mut self, first: Stop, signals: &mut Signals) {
        let Supervisor { orders, groups, ring, manager, .. } = self;
        let stop = |stop| orders.send_modify(|orders| orders.stop = orders.stop.max(stop));
        let stop_everything = async {
            stop(first.max(Stop::Servers));
            for servers in groups.values_mut().chain([ring]) {
                while servers.keepers.join_next().await.is_some() {}
            }
            stop(Stop::Everything);
            while manager.join_next().await.is_some() {}
        };
        let stop_now = async {
            signals.next().await;
            stop(Stop::Now);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stop_everything => {}
            () = stop_now => {}
        }
    }
}

/// Waits until the data directory isn't at its path any more. Returns how its processes must stop then: at
/// once if they would acknowledge writes into deleted files.
async fn until_gone(store: &Store) -> Stop {
    loop {
        sleep(LOOK_EVERY).await;
        let path = store.dir.path().display();
        match store.dir.presence() {
            Presence::Here => {}
            Presence::Moved => {
                store.screen.say(&format!(
                    "error: {path} was moved while its store ran: stopping everything; start it from its new place"
                ));
                return Stop::Servers;
            }
            Presence::Deleted => {
                store.screen.say(&format!(
                    "error: {path} was deleted while its store ran: stopping everything at once, since what is \
                     written now is lost"
                ));
                return Stop::Now;
            }
        }
    }
}

/// The signals that stop the supervisor.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
