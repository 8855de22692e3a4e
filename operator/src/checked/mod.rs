//! A checked operator: whole passes, with their live looks and steps, against a cluster that is simulated.
//!
//! A seed decides everything: watches that lag and stand still, each kind by itself; pods that start, hang and
//! come back; nodes that are gone, and kubelets that fall silent; people who scale, roll, drain, pause and
//! delete at once; requests that fail; an operator that is killed between any two requests, and two that act
//! at once. Servers follow Raft's rules of membership. After each step of an operator the judge compares what
//! it did with what was true (invariants 10 and 11); and when all has calmed down, the store must be as the
//! resource says, and nothing be written any more.
//!
//! - `world`: everything there is; `api`: the API server, `objects`: what it stores
//! - `controllers`, `nodes`: what Kubernetes does by itself; `raft`, `manager`: the groups, and who knows them
//! - `people`: what others do; `operators`: operators, with what their watches saw; `reach`: the way to servers
//! - `judge`: the invariants; `run`: one seed
//!
//! `SKV_OPERATOR_SEEDS=FIRST..LAST cargo test --package=operator checked` runs other seeds.

mod api;
mod controllers;
mod judge;
mod manager;
mod nodes;
mod objects;
mod operators;
mod people;
mod raft;
mod reach;
mod run;
mod world;

/// The seeds of every run of the tests.
const SEEDS: std::ops::Range<u64> = 0..40;

/// Returns the seeds to run.
fn seeds() -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("SKV_OPERATOR_SEEDS") else { return SEEDS };
    let (first, last) = asked.split_once("..").expect("SKV_OPERATOR_SEEDS is FIRST..LAST");
    first.parse().expect("a number")..last.parse().expect("a number")
}

#[test]
fn no_step_of_an_operator_makes_anything_worse_and_all_comes_to_rest() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let totals: Vec<run::Tally> = std::thread::scope(|scope| {
        let part = |of: u64| {
            scope.spawn(move || {
                let mut total = run::Tally::default();
                for seed in seeds().filter(|seed| seed % threads == of) {
                    match run::run(seed) {
                        Ok(tally) => total.add(&tally),
                        Err(finding) => panic!(
                            "seed {seed}: {finding}\n\nSKV_OPERATOR_SEEDS={seed}..{} cargo test --package=operator checked",
                            seed + 1
                        ),
                    }
                }
                total
            })
        };
        let parts: Vec<_> = (0..threads).map(part).collect();
        parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut total = run::Tally::default();
    for tally in &totals {
        total.add(tally);
    }
    println!("{total}");
    assert!(total.is_worth_something(), "{total}");
}
