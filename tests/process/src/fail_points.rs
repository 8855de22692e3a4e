//! Processes that die or stand still at a named step: the tests' side of `crates/fail-points`.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::{Cluster, Process, eventually};

impl Cluster {
    pub(crate) fn prepare_fail_points(&mut self) {
        let directory = self.fail_points();
        fs::create_dir(&directory).expect("a directory can be made");
        self.manager.set_variable("SKV_FAIL_POINTS", &directory);
        for server in &mut self.servers {
            server.process.set_variable("SKV_FAIL_POINTS", &directory);
        }
    }

    /// Has the next process that passes this point die there.
    pub fn arm(&self, point: &str) {
        fs::write(self.fail_points().join(point), []).expect("a file can be written");
    }

    /// Has the next process that passes this point stand there until it is released.
    pub fn arm_to_stand(&self, point: &str) {
        // The file mustn't be seen before it is whole: an empty file is death.
        let whole = self.directory().join("armed");
        fs::write(&whole, "wait").expect("a file can be written");
        fs::rename(&whole, self.fail_points().join(point)).expect("a file can be renamed");
    }

    /// Waits until a process stands at an armed point.
    pub async fn somebody_stands_at(&self, point: &str) {
        let reached = self.reached(point);
        eventually(&format!("somebody stands at {point}"), || async { reached.exists().then_some(()) }).await;
    }

    /// Releases the process that stands at a point.
    pub fn release(&self, point: &str) {
        fs::remove_file(self.reached(point)).expect("a file can be removed");
    }

    /// Waits until a server has died at an armed point; returns its index.
    pub async fn server_dies_at(&mut self, point: &str) -> usize {
        self.passed(point).await;
        let index = eventually("one of the servers is dead", || {
            let dead = self.servers.iter_mut().position(|server| server.process.has_ended());
            async move { dead }
        })
        .await;
        assert_died_at(&mut self.servers[index].process, point).await;
        index
    }

    /// Waits until the shard manager has died at an armed point.
    pub async fn manager_dies_at(&mut self, point: &str) {
        self.passed(point).await;
        assert_died_at(&mut self.manager, point).await;
    }

    async fn passed(&self, point: &str) {
        let armed = self.fail_points().join(point);
        eventually(&format!("somebody passes {point}"), || async { (!armed.exists()).then_some(()) }).await;
    }

    fn reached(&self, point: &str) -> PathBuf {
        self.fail_points().join(format!("{point}.reached"))
    }

    fn fail_points(&self) -> PathBuf {
        self.directory().join("fail-points")
    }
}

async fn assert_died_at(process: &mut Process, point: &str) {
    let status = process.wait().await;
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
    let last = format!("died at the fail point {point}");
    assert!(process.log().lines().any(|line| line == last), "{last}: not in its log");
}
