//! A checked operator: whole passes, with their live looks and steps, against a cluster that is simulated.
//!
//! A seed decides everything: watches that lag and stand still, each kind by itself; pods that start, hang,
//! crash again and again, and come back; disks that are full; groups whose servers can't reach each other;
//! nodes that are gone for a while, or for good, and kubelets that fall silent; a quota that refuses pods, and
//! claims that go; people who scale, roll, drain, pause, delete, enlarge volumes and make mistakes at once;
//! requests to the API server, the shard manager and the servers that fail, or whose answers are lost; an
//! operator that is killed before or after any of them, and two that act at once. Servers follow Raft's rules of
//! membership. Some stores are rings, some have groups of one replica, and some have volumes that can be used on
//! one node only. After each step of an operator the judge compares what it did with what was true (invariants
//! 10 and 11); and when all has calmed down, the store must be as the resource says, and nothing be written or
//! reported any more, whichever operator leads.
//!
//! - `form`: the form that a store has for life
//! - `world`: everything there is; `api`: the API server, `objects`: what it stores
//! - `controllers`, `nodes`, `volumes`: what Kubernetes does by itself; `raft`, `manager`: the groups, and who knows them
//! - `people`: what others do; `breakage`: what breaks
//! - `operators`: operators, with what their watches saw; `line`: the way of their requests; `reach`: its end at
//!   the shard manager and the servers
//! - `judge`: the invariants of pods, `sets`: those of StatefulSets, `records`: those of replacements
//! - `run`: one seed
//!
//! `SKV_OPERATOR_SEEDS=FIRST..LAST cargo test --package=skv-operator --lib checked` runs other seeds, and
//! `cargo xtask soak operator` goes on for hours.

use std::any::Any;
use std::num::NonZero;
use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use parking_lot::Mutex;

mod api;
mod breakage;
mod controllers;
mod form;
mod judge;
mod line;
mod manager;
mod nodes;
mod objects;
mod operators;
mod people;
mod raft;
mod reach;
mod records;
mod run;
mod sets;
mod volumes;
mod world;

use run::Tally;

/// Much of the work in a seed is to make and drop objects as trees of values.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The seeds of every run of the tests.
const SEEDS: Range<u64> = 0..1000;
/// The number of seeds in which enough must happen.
const MANY: u64 = 40;

#[test]
fn no_step_of_an_operator_makes_anything_worse_and_all_comes_to_rest() {
    let asked = asked();
    let seeds = asked.clone().unwrap_or(SEEDS);
    let (next, finding) = (AtomicU64::new(seeds.start), Mutex::new(None));
    let work = || {
        let mut total = Tally::default();
        while finding.lock().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match outcome(seed) {
                Ok(tally) => total.add(&tally),
                Err(problem) => *finding.lock() = Some(problem),
            }
        }
        total
    };
    let mut total = Tally::default();
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            total.add(&worker.join().expect("a seed that panics is a finding"));
        }
    });
    let finding: Option<String> = finding.into_inner();
    if asked.is_some() {
        println!("\n{}", total.report(finding.as_deref()));
    }
    if let Some(finding) = finding {
        panic!("{finding}");
    }
    println!("{total}");
    assert!(seeds.end - seeds.start < MANY || total.is_worth_something(), "{total}");
}

/// Returns the seeds that are asked for, if any are.
fn asked() -> Option<Range<u64>> {
    let asked = std::env::var("SKV_OPERATOR_SEEDS").ok()?;
    let (first, last) = asked.split_once("..").expect("SKV_OPERATOR_SEEDS is FIRST..LAST");
    Some(first.parse().expect("a number")..last.parse().expect("a number"))
}

/// Runs a seed; returns the finding with the command that shows it again.
fn outcome(seed: u64) -> Result<Tally, String> {
    let panicked = |panic: Box<dyn Any + Send>| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something");
        Err(format!("it panicked: {said}"))
    };
    let outcome = catch_unwind(|| run::run(seed)).unwrap_or_else(panicked);
    outcome.map_err(|problem| {
        let again = format!("SKV_OPERATOR_SEEDS={seed}..{}", seed + 1);
        format!("seed {seed}: {problem}\n\n{again} cargo test --package=skv-operator --lib checked")
    })
}
