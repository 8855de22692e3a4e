//! A seed: a time of trouble, then a time of calm in which all must come to rest.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::RngExt as _;

use super::operators::Operator;
use super::world::{Shared, World};

/// The number of rounds of trouble.
const TROUBLE: u32 = 120;
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
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        self.seeds += other.seeds;
        self.passes += other.passes;
        self.kills += other.kills;
        self.taken += other.taken;
        self.lost += other.lost;
    }

    /// Returns true if enough happened for the absence of findings to say something.
    pub(super) fn is_worth_something(&self) -> bool {
        self.taken > 0 && self.kills > 0 && self.lost * 2 < self.seeds.max(1)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { seeds, passes, kills, taken, lost } = self;
        write!(
            f,
            "{seeds} seeds: {passes} passes, {kills} killed, {taken} pods taken, {lost} seeds lost a group"
        )
    }
}

/// Runs a seed; returns the finding if there is one.
pub(super) fn run(seed: u64) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    runtime.block_on(async { Run::new(seed).run().await })
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
                return Err(format!("it doesn't come to rest: {why}; {}", self.world.lock().summary()));
            }
            let writes = self.calm_round().await?;
            quiet = if unsettled.is_none() && writes == 0 { quiet + 1 } else { 0 };
        }
        self.tally.taken = self.world.lock().judge.taken;
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
            (rng.random_range(0..10), rng.random_bool(0.1), rng.random_range(0..25))
        };
        for operator in &mut self.operators {
            operator.look(false);
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

    /// Lets some time pass and one operator act that sees everything; returns the number of its writes.
    async fn calm_round(&mut self) -> Result<u64, String> {
        for _ in 0..5 {
            self.world.lock().tick();
        }
        {
            let mut world = self.world.lock();
            world.give_up_volumes();
            world.let_go();
        }
        let before = self.world.lock().judge.writes;
        self.operators[0].look(true);
        self.operators[0].pass(None).await;
        self.tally.passes += 1;
        self.judged()?;
        Ok(self.world.lock().judge.writes - before)
    }

    fn judged(&self) -> Result<(), String> {
        let findings = &self.world.lock().judge.findings;
        if findings.is_empty() { Ok(()) } else { Err(findings.join("; ")) }
    }
}
