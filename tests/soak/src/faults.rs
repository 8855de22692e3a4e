//! Faults that strike the processes of a cluster, up to two at a time, and pass.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::RngExt as _;
use rand::rngs::StdRng;
use skv_process::Cluster;
use tokio::time::{Instant, sleep};

use crate::report::Notes;

const TICK: Duration = Duration::from_millis(100);
/// The largest number of faults that are there at the same time.
const MOST: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A server is killed by kill -9.
    Killed(usize),
    /// All servers of a group are killed by kill -9.
    GroupKilled(u32),
    /// A server stands still, with all its connections.
    Paused(usize),
    /// A server's disk has no room.
    DiskFull(usize),
    /// Every sync of a server takes long.
    DiskSlow(usize),
    /// A sync of a server fails: it stops.
    SyncFails(usize),
    ManagerKilled,
    ManagerPaused,
    /// The shard manager starts again without its record.
    RecordLost,
}

/// Faults that come and go.
pub(crate) struct Storm {
    rng: StdRng,
    /// The faults that are there now, with the times of their ends.
    live: Vec<(Fault, Instant)>,
    notes: Notes,
}

/// Gives each server a file from which it reads the faults of its disk.
pub(crate) fn prepare_disks(cluster: &mut Cluster) {
    for index in 0..cluster.servers.len() {
        let flag = format!("--disk-faults={}", disk_faults(cluster, index).display());
        cluster.servers[index].process.set_arguments(|arguments| arguments.push(flag));
    }
}

fn disk_faults(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.directory().join(format!("faults-{index}"))
}

fn set_disk_faults(cluster: &Cluster, index: usize, faults: &str) -> anyhow::Result<()> {
    // This is a single step: the server reads the file at any time.
    let new = cluster.directory().join("new-faults");
    fs::write(&new, faults).and_then(|()| fs::rename(&new, disk_faults(cluster, index)))?;
    Ok(())
}

impl Storm {
    pub(crate) fn new(rng: StdRng, notes: Notes) -> Storm {
        Storm { rng, live: Vec::new(), notes }
    }

    /// Has faults strike and pass until this moment; in the end all have passed.
    pub(crate) async fn rage(&mut self, cluster: &mut Cluster, end: Instant) -> anyhow::Result<()> {
        let mut next = Instant::now() + self.time(500..2000);
        while Instant::now() < end {
            self.pass(cluster, Instant::now())?;
            self.nobody_ended(cluster)?;
            if Instant::now() >= next && self.live.len() < MOST {
                self.draw_and_strike(cluster)?;
                next = Instant::now() + self.time(300..3000);
            }
            sleep(TICK).await;
        }
        self.pass(cluster, end + Duration::from_hours(1))
    }

    fn time(&mut self, ms: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(ms))
    }

    fn draw_and_strike(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let fault = self.draw(cluster);
        if self.live.iter().any(|(live, _)| shared(cluster, *live, fault)) {
            return Ok(());
        }
        eprintln!("strikes: {fault:?}");
        strike(cluster, fault)?;
        *self.notes.lock().faults.entry(fault.name()).or_default() += 1;
        let lasts = if self.rng.random_bool(0.2) { 4000..10_000 } else { 100..3000 };
        let until = Instant::now() + self.time(lasts);
        self.live.push((fault, until));
        Ok(())
    }

    fn draw(&mut self, cluster: &Cluster) -> Fault {
        let server = self.rng.random_range(0..cluster.servers.len());
        match self.rng.random_range(0..16) {
            0..4 => Fault::Killed(server),
            4 => Fault::GroupKilled(cluster.servers[server].groups[0]),
            5..8 => Fault::Paused(server),
            8 | 9 => Fault::DiskFull(server),
            10 => Fault::DiskSlow(server),
            11 => Fault::SyncFails(server),
            12 | 13 => Fault::ManagerKilled,
            14 => Fault::ManagerPaused,
            _ => Fault::RecordLost,
        }
    }

    /// Ends the faults whose time is over.
    fn pass(&mut self, cluster: &mut Cluster, now: Instant) -> anyhow::Result<()> {
        let (passing, live): (Vec<_>, _) = self.live.drain(..).partition(|(_, until)| *until <= now);
        self.live = live;
        for (fault, _) in passing {
            eprintln!("passes: {fault:?}");
            heal(cluster, fault)?;
        }
        Ok(())
    }

    /// Fails if a process has ended without a reason.
    fn nobody_ended(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        for index in 0..cluster.servers.len() {
            let may_end =
                self.live.iter().any(|(fault, _)| matches!(fault, Fault::SyncFails(it) if *it == index));
            if !may_end && cluster.servers[index].process.has_ended() {
                bail!("{} ended by itself", cluster.servers[index].name);
            }
        }
        if cluster.manager.has_ended() {
            bail!("the shard manager ended by itself");
        }
        Ok(())
    }
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Killed(_) => "server killed",
            Fault::GroupKilled(_) => "group killed",
            Fault::Paused(_) => "server paused",
            Fault::DiskFull(_) => "disk full",
            Fault::DiskSlow(_) => "disk slow",
            Fault::SyncFails(_) => "sync failed",
            Fault::ManagerKilled => "manager killed",
            Fault::ManagerPaused => "manager paused",
            Fault::RecordLost => "record lost",
        }
    }

    /// Returns the servers that it strikes; none is the shard manager.
    fn servers(self, cluster: &Cluster) -> Vec<Option<usize>> {
        match self {
            Fault::Killed(index)
            | Fault::Paused(index)
            | Fault::DiskFull(index)
            | Fault::DiskSlow(index)
            | Fault::SyncFails(index) => vec![Some(index)],
            Fault::GroupKilled(group) => {
                let servers = cluster.servers.iter().enumerate();
                servers.filter(|(_, server)| server.hosts(group)).map(|(index, _)| Some(index)).collect()
            }
            Fault::ManagerKilled | Fault::ManagerPaused | Fault::RecordLost => vec![None],
        }
    }
}

/// Returns true if both strike the same process.
fn shared(cluster: &Cluster, one: Fault, other: Fault) -> bool {
    let others = other.servers(cluster);
    one.servers(cluster).iter().any(|server| others.contains(server))
}

fn strike(cluster: &mut Cluster, fault: Fault) -> anyhow::Result<()> {
    match fault {
        Fault::Killed(_) | Fault::GroupKilled(_) => {
            for index in fault.servers(cluster).into_iter().flatten() {
                cluster.servers[index].process.kill();
            }
        }
        Fault::Paused(index) => cluster.servers[index].process.pause(),
        Fault::DiskFull(index) => set_disk_faults(cluster, index, "full")?,
        Fault::DiskSlow(index) => set_disk_faults(cluster, index, "slow-sync 100")?,
        Fault::SyncFails(index) => set_disk_faults(cluster, index, "failing-sync")?,
        Fault::ManagerKilled => cluster.manager.kill(),
        Fault::ManagerPaused => cluster.manager.pause(),
        Fault::RecordLost => {
            cluster.manager.kill();
            fs::remove_dir_all(&cluster.manager_dir).context("removing the record")?;
            cluster.manager.start();
        }
    }
    Ok(())
}

fn heal(cluster: &mut Cluster, fault: Fault) -> anyhow::Result<()> {
    match fault {
        Fault::Killed(_) | Fault::GroupKilled(_) => {
            for index in fault.servers(cluster).into_iter().flatten() {
                cluster.servers[index].process.start();
            }
        }
        Fault::Paused(index) => cluster.servers[index].process.resume(),
        Fault::DiskFull(index) | Fault::DiskSlow(index) => set_disk_faults(cluster, index, "")?,
        Fault::SyncFails(index) => {
            // The server is killed even if it had nothing to sync meanwhile.
            cluster.servers[index].process.kill();
            set_disk_faults(cluster, index, "")?;
            cluster.servers[index].process.start();
        }
        Fault::ManagerKilled => cluster.manager.start(),
        Fault::ManagerPaused => cluster.manager.resume(),
        Fault::RecordLost => {}
    }
    Ok(())
}
