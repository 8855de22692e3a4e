//! The faults of a cluster, and a storm of them: one to three faults at the same time, each with
//! its own time to strike and to pass.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use anyhow::bail;
use rand::RngExt as _;
use rand::rngs::SmallRng;
use shardmanager::record::Record;

use crate::cluster::{Cluster, MEMORY};
use crate::layout::{MANAGERS, SERVERS, server_name, servers_of};

/// The largest number of faults that are there at the same time.
const MOST: usize = 3;
/// The share of messages that a lossy link loses. Nothing sends them again here, as TCP would, so each leaves
/// all connections that had something on the way there stalled until their users give them up.
const LOSS: f64 = 0.01;
const SLOW_SYNC: Duration = Duration::from_millis(30);
/// The interval at which the record is copied, so that an old copy can be restored.
const COPY_EVERY: Duration = Duration::from_secs(1);

/// A fault of a cluster. Servers are numbered through all groups.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// These servers stop at once; a part of the unsynced writes is lost.
    PowerLoss(Vec<usize>),
    /// Every sync of this server takes long.
    SlowDisk(usize),
    /// These servers have no room in memory for data that grows.
    MemoryFull(Vec<usize>),
    /// This server can't reach the others, nor they it; clients reach all of them.
    Isolated(usize),
    /// This group's servers can't reach the other groups, nor they them; clients reach all.
    Apart(usize),
    /// Messages between this server and all others pass in one direction only.
    OneWay { server: usize, hears: bool },
    /// The other servers of this one's group can't reach each other; all reach this one.
    Bridge(usize),
    /// Messages between this server and all other hosts are lost.
    Lossy(usize),
    /// These hosts can't reach the shard managers.
    CutFromManagers(Vec<String>),
    /// No clerk can reach these servers.
    CutFromClerks(Vec<usize>),
    /// This number of shard managers are gone.
    ManagersDown(usize),
    /// The shard managers' record is lost.
    RecordLost,
    /// A copy of the record that was made earlier takes its place.
    RecordPutBack,
}

/// The fault of the link between two hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Trouble {
    /// True if nothing arrives from the first at the second.
    there: bool,
    /// True if nothing arrives from the second at the first.
    back: bool,
    /// True if messages are lost.
    lossy: bool,
}

/// Faults that come and go.
pub(crate) struct Storm {
    rng: SmallRng,
    /// The faults that are there now, with the times of their ends.
    live: Vec<(Fault, Duration)>,
    /// Links with faults; the first host's name is the lower one.
    troubled: BTreeMap<(String, String), Trouble>,
    copies: Copies,
}

/// Copies of the record, oldest first.
#[derive(Default)]
struct Copies {
    records: Vec<Record>,
    of_write: u64,
    next: Duration,
}

impl Storm {
    /// Makes a calm one; all that it does follows from `rng`.
    pub(crate) fn new(rng: SmallRng) -> Storm {
        Storm { rng, live: Vec::new(), troubled: BTreeMap::new(), copies: Copies::default() }
    }

    /// Steps until `done`, while faults strike and pass. In the end all have passed.
    pub(crate) fn rage(
        &mut self,
        cluster: &mut Cluster,
        mut done: impl FnMut() -> bool,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let mut strike_at = self.soon(1000..3000);
        let mut most = 1;
        while !done() {
            let now = cluster.sim.elapsed();
            if now > limit {
                bail!("the clients didn't finish within {limit:?} of simulated time");
            }
            self.copies.keep(cluster, now);
            self.pass(cluster, |until| until <= now);
            if now >= strike_at {
                if self.live.is_empty() {
                    most = self.rng.random_range(1..=MOST);
                }
                if self.live.len() < most {
                    self.draw_and_strike(cluster);
                }
                // Calm follows when all faults have passed.
                strike_at = now + self.soon(if self.live.len() < most { 0..800 } else { 1000..4000 });
            }
            cluster.step()?;
        }
        self.pass(cluster, |_| true);
        Ok(())
    }

    fn draw_and_strike(&mut self, cluster: &mut Cluster) {
        let now = cluster.sim.elapsed();
        let fault = self.draw(cluster);
        if self.live.iter().any(|(live, _)| live.excludes(&fault)) {
            return;
        }
        eprintln!("{now:?}: strikes: {fault:?}");
        self.strike(cluster, &fault);
        let lasts = if self.rng.random_bool(0.15) { 4000..15_000 } else { 100..4000 };
        let until = now + self.soon(lasts);
        self.live.push((fault, until));
        self.mend_links(cluster);
    }

    /// Ends the faults whose time is over according to `over`.
    fn pass(&mut self, cluster: &mut Cluster, over: impl Fn(Duration) -> bool) {
        let (passing, live): (Vec<_>, _) = self.live.drain(..).partition(|(_, until)| over(*until));
        self.live = live;
        for (fault, _) in &passing {
            eprintln!("{:?}: passes: {fault:?}", cluster.sim.elapsed());
            heal(cluster, fault);
        }
        if !passing.is_empty() {
            self.mend_links(cluster);
        }
    }

    fn soon(&mut self, ms: Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(ms))
    }

    fn draw(&mut self, cluster: &Cluster) -> Fault {
        let server = self.rng.random_range(0..cluster.disks.len());
        let group = server / SERVERS;
        let many = cluster.disks.len() > SERVERS;
        match self.rng.random_range(0..22) {
            0..3 => Fault::PowerLoss(vec![server]),
            3 => Fault::PowerLoss(servers_of(group).collect()),
            4 => Fault::SlowDisk(server),
            5..7 => Fault::Isolated(server),
            7..9 if many => Fault::Apart(group),
            7..11 => Fault::OneWay { server, hears: self.rng.random_bool(0.5) },
            11 => Fault::Bridge(server),
            12..14 => Fault::Lossy(server),
            14 => Fault::CutFromManagers(servers_of(group).map(server_name).collect()),
            15 => Fault::CutFromManagers(cluster.clerks.clone()),
            16 if self.rng.random_bool(0.5) => Fault::CutFromClerks(servers_of(group).collect()),
            16 => Fault::CutFromClerks(vec![server]),
            17 => Fault::ManagersDown(self.rng.random_range(1..=MANAGERS.len())),
            18 => Fault::RecordLost,
            19 => Fault::MemoryFull(vec![server]),
            20 => Fault::MemoryFull(servers_of(group).take(self.rng.random_range(2..=SERVERS)).collect()),
            _ => Fault::RecordPutBack,
        }
    }

    fn strike(&mut self, cluster: &mut Cluster, fault: &Fault) {
        match fault {
            Fault::PowerLoss(servers) => {
                for &index in servers {
                    cluster.sim.crash(server_name(index));
                    cluster.disks[index].lose_power(|| self.rng.random_bool(0.5));
                }
            }
            Fault::SlowDisk(index) => cluster.disks[*index].get().set_sync_delay(SLOW_SYNC),
            Fault::MemoryFull(servers) => {
                for index in servers {
                    cluster.memory[*index].sample(None, MEMORY);
                }
            }
            Fault::ManagersDown(count) => {
                for host in &MANAGERS[..*count] {
                    cluster.sim.crash(*host);
                }
            }
            Fault::RecordLost => cluster.record.replace(None),
            Fault::RecordPutBack => {
                if let Some(old) = self.copies.any(&mut self.rng) {
                    eprintln!("the record is of map revision {} again", old.revision);
                    cluster.record.replace(Some(old));
                }
            }
            // `mend_links` does it.
            Fault::Isolated(_)
            | Fault::Apart(_)
            | Fault::OneWay { .. }
            | Fault::Bridge(_)
            | Fault::Lossy(_)
            | Fault::CutFromManagers(_)
            | Fault::CutFromClerks(_) => {}
        }
    }

    /// Brings all links to the state that the current faults require.
    fn mend_links(&mut self, cluster: &mut Cluster) {
        let wanted = troubles(self.live.iter().map(|(fault, _)| fault), cluster);
        let links: BTreeSet<_> = self.troubled.keys().chain(wanted.keys()).cloned().collect();
        for link in links {
            let trouble = wanted.get(&link).copied().unwrap_or_default();
            if self.troubled.get(&link).copied().unwrap_or_default() != trouble {
                set_link(&mut cluster.sim, &link, trouble);
            }
        }
        self.troubled = wanted;
    }
}

impl Copies {
    fn keep(&mut self, cluster: &Cluster, now: Duration) {
        if now < self.next {
            return;
        }
        self.next = now + COPY_EVERY;
        let writes = cluster.record.writes();
        if writes != self.of_write {
            self.of_write = writes;
            self.records.extend(cluster.record.record());
        }
    }

    fn any(&self, rng: &mut SmallRng) -> Option<Record> {
        let last = self.records.len().checked_sub(1)?;
        Some(self.records[rng.random_range(0..=last)].clone())
    }
}

impl Fault {
    /// Returns true if the other one can't be distinguished from this, or would heal what this has broken.
    fn excludes(&self, other: &Fault) -> bool {
        match (self, other) {
            (Fault::PowerLoss(these), Fault::PowerLoss(those)) => these.iter().any(|one| those.contains(one)),
            (Fault::MemoryFull(these), Fault::MemoryFull(those)) => {
                these.iter().any(|one| those.contains(one))
            }
            (Fault::ManagersDown(_), Fault::ManagersDown(_)) => true,
            _ => self == other,
        }
    }
}

fn heal(cluster: &mut Cluster, fault: &Fault) {
    match fault {
        Fault::PowerLoss(servers) => {
            for index in servers {
                cluster.sim.bounce(server_name(*index));
            }
        }
        Fault::SlowDisk(index) => cluster.disks[*index].get().set_sync_delay(Duration::ZERO),
        Fault::MemoryFull(servers) => {
            for index in servers {
                cluster.memory[*index].sample(None, 0);
            }
        }
        Fault::ManagersDown(count) => {
            for host in &MANAGERS[..*count] {
                cluster.sim.bounce(*host);
            }
        }
        // A record is healed by the managers themselves, links by `mend_links`.
        _ => {}
    }
}

/// Returns all links that these faults together affect.
fn troubles<'a>(
    faults: impl Iterator<Item = &'a Fault>,
    cluster: &Cluster,
) -> BTreeMap<(String, String), Trouble> {
    let mut troubles = BTreeMap::new();
    for fault in faults {
        let both = Trouble { there: true, back: true, lossy: false };
        let (ours, theirs, trouble) = match fault {
            Fault::Isolated(index) => (vec![server_name(*index)], servers_but(cluster, &[*index]), both),
            Fault::Apart(group) => {
                let ours: Vec<usize> = servers_of(*group).collect();
                (names(&ours), servers_but(cluster, &ours), both)
            }
            Fault::OneWay { server, hears } => {
                let trouble = Trouble { there: *hears, back: !*hears, lossy: false };
                (vec![server_name(*server)], servers_but(cluster, &[*server]), trouble)
            }
            Fault::Bridge(middle) => {
                let ends: Vec<usize> = servers_of(middle / SERVERS).filter(|end| end != middle).collect();
                (names(&ends[..1]), names(&ends[1..]), both)
            }
            Fault::Lossy(index) => {
                let mut others = servers_but(cluster, &[*index]);
                others.extend(MANAGERS.map(str::to_owned));
                others.extend(cluster.clerks.iter().cloned());
                (vec![server_name(*index)], others, Trouble { lossy: true, ..Trouble::default() })
            }
            Fault::CutFromManagers(hosts) => (hosts.clone(), MANAGERS.map(str::to_owned).to_vec(), both),
            Fault::CutFromClerks(servers) => (names(servers), cluster.clerks.clone(), both),
            Fault::PowerLoss(_)
            | Fault::SlowDisk(_)
            | Fault::MemoryFull(_)
            | Fault::ManagersDown(_)
            | Fault::RecordLost
            | Fault::RecordPutBack => continue,
        };
        for (one, other) in ours.iter().flat_map(|one| theirs.iter().map(move |other| (one, other))) {
            let Trouble { there, back, lossy } = trouble;
            let (link, trouble) = if one < other {
                ((one.clone(), other.clone()), trouble)
            } else {
                ((other.clone(), one.clone()), Trouble { there: back, back: there, lossy })
            };
            let known: &mut Trouble = troubles.entry(link).or_default();
            known.there |= trouble.there;
            known.back |= trouble.back;
            known.lossy |= trouble.lossy;
        }
    }
    troubles
}

fn names(servers: &[usize]) -> Vec<String> {
    servers.iter().map(|index| server_name(*index)).collect()
}

fn servers_but(cluster: &Cluster, out: &[usize]) -> Vec<String> {
    (0..cluster.disks.len()).filter(|index| !out.contains(index)).map(server_name).collect()
}

fn set_link(sim: &mut turmoil::Sim<'static>, (one, other): &(String, String), trouble: Trouble) {
    let (one, other) = (one.as_str(), other.as_str());
    // Turmoil's loss of messages heals cuts: only links without a cut may lose messages.
    let loss = if trouble.lossy && !trouble.there && !trouble.back { LOSS } else { 0.0 };
    sim.set_link_fail_rate(one, other, loss);
    sim.repair(one, other);
    if trouble.there {
        sim.partition_oneway(one, other);
    }
    if trouble.back {
        sim.partition_oneway(other, one);
    }
}
