//! A seed: a time of trouble, then a time of calm in which all must come to rest.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::RngExt as _;
use serde_json::{Value, json};

use super::operators::Operator;
use super::world::{Shared, World};

/// The number of rounds of trouble.
const TROUBLE: u32 = 60;
/// The most rounds until all has come to rest.
const PATIENCE: u32 = 600;
/// The rounds in which nothing may be written then.
const REST: u32 = 5;

/// The work that was done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    seeds: u64,
    passes: u64,
    kills: u64,
    taken: u64,
    /// The seeds after which a group couldn't come back.
    lost: u64,
    /// The number of times that each trouble came.
    happened: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        self.seeds += other.seeds;
        self.passes += other.passes;
        self.kills += other.kills;
        self.taken += other.taken;
        self.lost += other.lost;
        for (what, count) in &other.happened {
            *self.happened.entry(*what).or_default() += count;
        }
    }

    /// Returns the report that `cargo xtask soak` reads.
    pub(super) fn report(&self, finding: Option<&str>) -> Value {
        json!({
            "operations": self.passes, "failed": self.kills, "changes": self.taken, "faults": self.happened,
            "finding": finding,
        })
    }

    /// Returns true if enough happened for the absence of findings to say something.
    pub(super) fn is_worth_something(&self) -> bool {
        self.taken > 0 && self.kills > 0 && self.lost * 2 < self.seeds.max(1)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { seeds, passes, kills, taken, lost, happened } = self;
        write!(
            f,
            "{seeds} seeds: {passes} passes, {kills} killed, {taken} pods taken, {lost} seeds lost a group; \
             {happened:?}"
        )
    }
}

/// Runs a seed; returns the finding if there is one.
pub(super) fn run(seed: u64) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    runtime.block_on(async { Run::new(seed).run().await })
}

/// The number of requests to write objects, of Events, and of changes that came of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Writes {
    requests: u64,
    events: u64,
    changes: u64,
}

struct Run {
    world: Shared,
    operators: [Operator; 2],
    tally: Tally,
}

impl Run {
    fn new(seed: u64) -> Run {
        let world = Arc::new(Mutex::new(World::new(seed)));
        let operators = [0, 1].map(|number| Operator::new(number, &world));
        Run { world, operators, tally: Tally { seeds: 1, ..Tally::default() } }
    }

    async fn run(mut self) -> Result<Tally, String> {
        for _ in 0..TROUBLE {
            self.round().await?;
        }
        self.world.lock().calm_down();
        let mut rounds = 0;
        let mut quiet = 0;
        while quiet < REST {
            rounds += 1;
            if self.world.lock().is_lost_for_good() {
                self.tally.lost = 1;
                break;
            }
            let unsettled = self.world.lock().unsettled();
            if rounds > PATIENCE {
                let why = unsettled.unwrap_or_else(|| "something is written again and again".to_owned());
                return Err(format!("it doesn't come to rest: {why}\n{}", self.world.lock().picture()));
            }
            let writes = self.calm_round(0).await?;
            quiet = if unsettled.is_none() && writes == Writes::default() { quiet + 1 } else { 0 };
        }
        if self.tally.lost == 0 {
            self.hand_the_lead_over().await?;
        }
        let world = self.world.lock();
        self.tally.taken = world.judge.taken;
        self.tally.happened.clone_from(&world.happened);
        drop(world);
        Ok(self.tally)
    }

    /// Lets some time pass, and operators act: mostly one, at times two, and at times one that is killed.
    async fn round(&mut self) -> Result<(), String> {
        let (acting, kill, after) = {
            let mut world = self.world.lock();
            for _ in 0..world.rng.random_range(1..6) {
                world.tick();
            }
            let rng = &mut world.rng;
            (rng.random_range(0..10), rng.random_bool(0.1), rng.random_range(0..40))
        };
        for operator in &mut self.operators {
            operator.look();
        }
        let killed_after = kill.then_some(after);
        let [first, second] = &mut self.operators;
        let survived = match acting {
            0 | 1 => return self.judged(),
            2 => {
                self.tally.passes += 2;
                let (first, second) = futures::join!(first.pass(killed_after), second.pass(None));
                first && second
            }
            3 | 4 => {
                self.tally.passes += 1;
                second.pass(None).await
            }
            _ => {
                self.tally.passes += 1;
                first.pass(killed_after).await
            }
        };
        if !survived {
            self.tally.kills += 1;
            self.operators[0] = Operator::new(0, &self.world);
        }
        self.judged()
    }

    /// Has the other operator lead for a while, and then the first one again. One that begins to lead may apply
    /// what is so already; but there is nothing to change, or to report.
    async fn hand_the_lead_over(&mut self) -> Result<(), String> {
        for (leading, begins) in [(1, true), (1, false), (0, false)] {
            let mut writes = self.calm_round(leading).await?;
            if begins {
                writes.requests = 0;
            }
            if writes != Writes::default() {
                return Err(format!("operator {leading} leads a store that is as it should be: {writes:?}"));
            }
        }
        Ok(())
    }

    /// Lets some time pass, operators see everything, and one of them act; returns what it wrote.
    async fn calm_round(&mut self, leading: usize) -> Result<Writes, String> {
        for _ in 0..5 {
            self.world.lock().tick();
        }
        {
            let mut world = self.world.lock();
            world.give_up_volumes();
            world.let_go();
            world.wait_for_budget();
        }
        let before = self.writes();
        for operator in &mut self.operators {
            operator.look_at_all();
        }
        self.operators[leading].pass(None).await;
        self.tally.passes += 1;
        self.judged()?;
        let after = self.writes();
        Ok(Writes {
            requests: after.requests - before.requests,
            events: after.events - before.events,
            changes: after.changes - before.changes,
        })
    }

    fn writes(&self) -> Writes {
        let judge = &self.world.lock().judge;
        Writes { requests: judge.writes, events: judge.events, changes: judge.changes }
    }

    fn judged(&self) -> Result<(), String> {
        let findings = &self.world.lock().judge.findings;
        if findings.is_empty() { Ok(()) } else { Err(findings.join("; ")) }
    }
}
