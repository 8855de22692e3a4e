//! Registrations that wait for the manager: while it decides on some and writes, the next ones gather, and are
//! decided on together. So the record is written as often as the store can, and nobody waits for more to come.

use parking_lot::Mutex;
use skv_assignment::rules::{Decision, Registration};
use skv_proto::Error;
use tokio::sync::oneshot;

/// The registrations that nobody has begun to decide on.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    due: Mutex<Vec<Due>>,
}

/// A registration that somebody waits for the answer to.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) registration: Registration,
    answer: oneshot::Sender<Result<Decision, Error>>,
}

impl Gathering {
    /// Adds a registration, and returns the way to its answer. Without one it was dropped.
    pub(crate) fn add(&self, registration: Registration) -> oneshot::Receiver<Result<Decision, Error>> {
        let (answer, answered) = oneshot::channel();
        self.due.lock().push(Due { registration, answer });
        answered
    }

    /// Takes all that have gathered.
    pub(crate) fn take(&self) -> Vec<Due> {
        std::mem::take(&mut *self.due.lock())
    }
}

impl Due {
    /// Answers, if somebody still waits.
    pub(crate) fn answer(self, answer: Result<Decision, Error>) {
        let _ = self.answer.send(answer);
    }
}
