//! Processes that die at a named step: the tests' side of `tests/fail-points`.

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

    /// Waits until a server has died at an armed point; answers its index.
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
