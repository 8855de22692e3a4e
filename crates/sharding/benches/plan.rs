//! Measures the planner for 10,000 shards and some 200 groups. One JSON object per measurement on standard
//! output.
//!
//! `cargo bench -p skv-sharding --bench plan`

#![allow(clippy::expect_used, reason = "a benchmark that can't go on says why")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::json;
use skv_sharding::{GroupId, Layout, Policy, plan};

const SHARDS: usize = 10_000;
const RUNS: usize = 200;

fn main() {
    let nowhere = vec![None; SHARDS];
    measure("from nothing to 200 groups", &nowhere, &groups(200));
    measure("one group joins 199", &balanced(199), &groups(200));
    measure("one group leaves 200", &balanced(200), &groups(200)[1..]);
    measure("ten groups join 190", &balanced(190), &groups(200));
}

fn groups(number: u32) -> Vec<GroupId> {
    (0..number).map(GroupId).collect()
}

fn balanced(number: u32) -> Vec<Option<GroupId>> {
    planned(&vec![None; SHARDS], &groups(number)).into_iter().map(Some).collect()
}

fn planned(owners: &[Option<GroupId>], groups: &[GroupId]) -> Vec<GroupId> {
    plan(Policy::Minimal, Layout { groups, owners, pins: &BTreeMap::new() }).expect("a plan")
}

fn measure(what: &str, owners: &[Option<GroupId>], groups: &[GroupId]) {
    let moved = owners.iter().zip(planned(owners, groups)).filter(|(from, to)| **from != Some(*to)).count();
    let mut times: Vec<Duration> = (0..RUNS).map(|_| time_one(owners, groups)).collect();
    times.sort_unstable();
    let micros = |time: Duration| (time.as_secs_f64() * 1e6).round();
    println!(
        "{}",
        json!({
            "measured": format!("plan of {SHARDS} shards, {what}, µs"),
            "runs": RUNS, "assigned": moved, "median": micros(times[RUNS / 2]), "worst": micros(times[RUNS - 1]),
        })
    );
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn time_one(owners: &[Option<GroupId>], groups: &[GroupId]) -> Duration {
    let start = Instant::now();
    black_box(planned(black_box(owners), black_box(groups)));
    start.elapsed()
}
