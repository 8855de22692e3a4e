//! The line from an operator to the API server, the shard manager and the servers: others go on meanwhile,
//! requests and answers are lost, and the operator may be killed before and after each request.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rand::RngExt as _;
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::world::{Shared, World};

/// Kills an operator after a number of requests.
pub(super) struct Fuse {
    left: AtomicU32,
    blown: Notify,
}

impl Fuse {
    pub(super) fn new() -> Fuse {
        Fuse { left: AtomicU32::new(u32::MAX), blown: Notify::new() }
    }

    /// Sets the number of requests after which the operator is killed.
    pub(super) fn set(&self, killed_after: Option<u32>) {
        self.left.store(killed_after.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Waits until the operator is killed.
    pub(super) async fn blown(&self) {
        self.blown.notified().await;
    }

    /// Counts a request; returns true if the operator is killed by then.
    fn burn(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 0 {
            self.blown.notify_one();
        }
        left == 0
    }
}

/// The line of one operator.
#[derive(Clone)]
pub(super) struct Line {
    world: Shared,
    fuse: Arc<Fuse>,
}

impl Line {
    pub(super) fn new(world: &Shared, fuse: &Arc<Fuse>) -> Line {
        Line { world: Arc::clone(world), fuse: Arc::clone(fuse) }
    }

    /// Asks a question, after which nothing is different; `None` if there is no answer.
    pub(super) async fn ask<T>(&self, question: impl FnOnce(&World) -> Option<T>) -> Option<T> {
        self.send().await;
        let mut world = self.world.lock();
        if world.loses(0.02) { None } else { question(&world) }
    }

    /// Gives an order, which may be carried out though its answer is lost.
    pub(super) async fn order(
        &self,
        order: impl FnOnce(&mut World) -> Result<(), String>,
    ) -> Result<(), String> {
        let carry_out = |world: &mut World| {
            if world.loses(0.02) {
                return Err("the request is lost".to_owned());
            }
            let answer = order(world);
            if world.loses(0.02) { Err("the answer is lost".to_owned()) } else { answer }
        };
        self.exchange(carry_out).await
    }

    /// Sends a request, and returns the answer to it.
    pub(super) async fn exchange<T>(&self, answer: impl FnOnce(&mut World) -> T) -> T {
        self.send().await;
        let answer = answer(&mut self.world.lock());
        self.receive().await;
        answer
    }

    /// Waits until a request comes through: for ever if the operator is killed before.
    async fn send(&self) {
        self.let_others_go_on().await;
        if self.fuse.burn() {
            pending::<()>().await;
        }
    }

    /// Waits until an answer comes back: for ever if the operator is killed before.
    async fn receive(&self) {
        self.let_others_go_on().await;
        let is_killed = self.world.lock().rng.random_bool(0.5);
        if self.fuse.left.load(Ordering::Relaxed) == 0 && is_killed && self.fuse.burn() {
            pending::<()>().await;
        }
    }

    /// Lets others go on, and time pass.
    async fn let_others_go_on(&self) {
        let pauses = self.world.lock().rng.random_range(0..3);
        for _ in 0..pauses {
            yield_now().await;
        }
        let mut world = self.world.lock();
        if world.rng.random_bool(0.3) {
            world.tick();
        }
    }
}

impl World {
    /// Returns true if something is lost on the way, as often as this says while there is trouble.
    pub(super) fn loses(&mut self, how_often: f64) -> bool {
        !self.calm && self.rng.random_bool(how_often)
    }
}
