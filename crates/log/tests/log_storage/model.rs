//! After any steps and any power failure, a log opens as it was after some step, and not before the
//! last one that was acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use skv_disk::MemoryDisk;
use skv_log::{Entry, Log, LogId, Vote};

use crate::support::{close, entry, formatted, id, open, options, read_all};

/// The sectors of a segment: a few entries fill one.
const SECTORS: u32 = 24;

#[derive(Debug, Clone)]
enum Step {
    /// Append entries of these lengths.
    Append(Vec<usize>),
    /// Drop this number of the last entries, and begin a new term.
    Truncate(u64),
    /// Purge this number of the first entries, or beyond the last.
    Purge(u64),
    Vote,
    Commit,
    /// Let this number of syncs be done, and their consequences.
    Sync(usize),
    /// Close and open.
    Restart,
    /// Kill the process and open again; unsynced writes are there, and must not vanish later.
    Kill,
    /// Take the power away; unsynced writes survive by chance.
    Crash(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![0..20_usize, 400..600_usize, 0..4000_usize];
    prop_oneof![
        12 => prop::collection::vec(len, 1..5).prop_map(Step::Append),
        2 => (1..6_u64).prop_map(Step::Truncate),
        2 => (0..8_u64).prop_map(Step::Purge),
        2 => Just(Step::Vote),
        2 => Just(Step::Commit),
        6 => (1..8_usize).prop_map(Step::Sync),
        1 => Just(Step::Restart),
        2 => Just(Step::Kill),
        3 => any::<u64>().prop_map(Step::Crash),
    ]
}

/// The content of a log.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    purged: Option<LogId>,
    /// Position and length; an entry's content follows from its index.
    entries: VecDeque<(LogId, usize)>,
    vote: Option<Vote>,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.back().map(|(id, _)| *id).or(self.purged)
    }

    async fn of(log: &Log) -> Model {
        let entries = read_all(log).await;
        for e in &entries {
            assert_eq!(*e, entry(e.id.term, e.id.index, e.payload.len()));
        }
        let entries = entries.iter().map(|e| (e.id, e.payload.len())).collect();
        Model { purged: log.purged(), entries, vote: log.vote() }
    }
}

/// A log, and every state that it went through since it was opened.
struct Run {
    disk: MemoryDisk,
    log: Option<Log>,
    states: Vec<Model>,
    /// The number of the states that are durable.
    acknowledged: Arc<AtomicUsize>,
    term: u64,
    /// The index of the last commit: nothing up to it is ever truncated.
    committed: Option<u64>,
}

impl Run {
    async fn start() -> Run {
        let disk = formatted(&options(SECTORS)).await;
        let (log, _) = open(&disk).await.unwrap();
        disk.hold_syncs();
        Run {
            disk,
            log: Some(log),
            states: vec![Model::default()],
            acknowledged: Arc::default(),
            term: 1,
            committed: None,
        }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn now(&self) -> Model {
        self.states[self.states.len() - 1].clone()
    }

    async fn take(&mut self, step: Step) {
        let next = self.now();
        match step {
            Step::Append(lens) => self.append(next, lens),
            Step::Truncate(count) => self.truncate(next, count).await,
            Step::Purge(count) => self.purge(next, count),
            Step::Vote => self.vote(next).await,
            Step::Commit => {
                self.committed = next.last().map(|last| last.index);
                self.log().save_committed(next.last()).unwrap();
            }
            Step::Sync(count) => {
                for _ in 0..count {
                    self.disk.let_sync(1);
                    settle().await;
                }
            }
            Step::Restart => {
                let closed = tokio::spawn(close(self.log.take().unwrap()));
                self.finish(closed).await;
                let last = self.now();
                self.reopen(self.disk.clone()).await;
                assert_eq!(self.now(), last, "closing a log writes all of it");
            }
            Step::Kill => self.reopen(self.disk.kill()).await,
            Step::Crash(seed) => self.crash(seed).await,
        }
        assert_eq!(Model::of(self.log()).await, self.now());
    }

    fn append(&mut self, mut next: Model, lens: Vec<usize>) {
        let first = next.last().map_or(1, |last| last.index + 1);
        let entries: Vec<Entry> =
            lens.into_iter().zip(first..).map(|(len, index)| entry(self.term, index, len)).collect();
        // A batch may end within the entries, so each of them makes a state.
        for entry in &entries {
            next.entries.push_back((entry.id, entry.payload.len()));
            self.states.push(next.clone());
        }
        let (acknowledged, state) = (self.acknowledged.clone(), self.states.len() - 1);
        let done = move |result: std::io::Result<()>| {
            if result.is_ok() {
                acknowledged.fetch_max(state, Ordering::Relaxed);
            }
        };
        self.log().append(entries, Box::new(done)).unwrap();
    }

    async fn truncate(&mut self, mut next: Model, count: u64) {
        self.term += 1;
        let before = next.entries.len();
        for _ in 0..count {
            next.entries.pop_back_if(|(id, _)| Some(id.index) > self.committed);
        }
        if next.entries.len() == before {
            return;
        }
        let (truncating, last) = (self.log().clone(), next.last().map(|last| last.index));
        let truncated = tokio::spawn(async move { truncating.truncate_after(last).await });
        self.finish(truncated).await.unwrap();
        self.states.push(next);
        self.acknowledged.store(self.states.len() - 1, Ordering::Relaxed);
    }

    fn purge(&mut self, mut next: Model, count: u64) {
        let Some(last) = next.last() else { return };
        let upto = match next.entries.get(count as usize) {
            Some((id, _)) => *id,
            None => id(self.term, last.index + count.max(1)),
        };
        next.entries.retain(|(id, _)| id.index > upto.index);
        next.purged = Some(upto);
        self.log().purge(upto).unwrap();
        self.states.push(next);
    }

    async fn vote(&mut self, mut next: Model) {
        self.term += 1;
        let vote = Vote { term: self.term, candidate: 1, committed: false };
        next.vote = Some(vote);
        let saving = self.log().clone();
        let saved = tokio::spawn(async move { saving.save_vote(vote).await });
        self.finish(saved).await.unwrap();
        self.states.push(next);
        self.acknowledged.store(self.states.len() - 1, Ordering::Relaxed);
    }

    async fn crash(&mut self, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let disk = self.disk.crash(|| rng.next_u64() % 3 == 0);
        // Opening is interrupted too, after some of its syncs.
        disk.hold_syncs();
        disk.let_sync(rng.next_u64() as usize % 5);
        let opening = disk.clone();
        tokio::spawn(async move { drop(open(&opening).await) });
        settle().await;
        let disk = disk.crash(|| rng.next_u64() % 3 == 0);
        self.reopen(disk).await;
    }

    /// Lets the disk work until a task has ended.
    async fn finish<T>(&self, task: tokio::task::JoinHandle<T>) -> T {
        for _ in 0..10_000 {
            if task.is_finished() {
                return task.await.unwrap();
            }
            self.disk.let_sync(1);
            settle().await;
        }
        panic!("the log doesn't come to an end")
    }

    async fn reopen(&mut self, disk: MemoryDisk) {
        self.disk = disk.clone();
        let opened = self.finish(tokio::spawn(async move { open(&disk).await })).await;
        let (log, _) = opened.unwrap_or_else(|error| panic!("{error}"));
        let found = Model::of(&log).await;
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let at = self.states.iter().rposition(|state| *state == found);
        assert!(
            at.is_some_and(|at| at >= acknowledged),
            "state {acknowledged} of {} was acknowledged, found is {at:?}: {found:?}",
            self.states.len(),
        );
        if let Some(committed) = log.committed() {
            assert!(Some(committed.index) <= log.last().map(|l| l.index), "committed {committed:?}");
        }
        self.disk.hold_syncs();
        self.committed = log.committed().map(|id| id.index);
        self.log = Some(log);
        self.states = vec![found];
        self.acknowledged = Arc::default();
    }
}

/// Lets all tasks run until they wait for something.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_what_was_written_to_it(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::start().await;
            for step in steps {
                run.take(step).await;
            }
        });
    }
}
