//! Waiting for a condition.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// The usual pause between two checks.
const POLL: Duration = Duration::from_millis(50);
/// The time limit of a condition, far more than any needs: only a test that has failed gets here.
const NEVER: Duration = Duration::from_secs(90);
/// The time limit of one check.
const QUESTION: Duration = Duration::from_secs(9);

/// Repeats a check until it returns something. Panics with the name of the condition if that takes
/// far longer than it can.
#[track_caller]
pub fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    eventually_within(NEVER, what, ask)
}

/// The same for a condition that takes many steps.
#[track_caller]
pub fn eventually_within<T, F: Future<Output = Option<T>>>(
    never: Duration,
    what: &str,
    ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    eventually_every(POLL, never, what, ask)
}

/// The same with this pause between two checks, for checks that keep others busy.
#[track_caller]
pub fn eventually_every<T, F: Future<Output = Option<T>>>(
    pause: Duration,
    never: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let what = what.to_owned();
    let location = std::panic::Location::caller();
    async move {
        let asking = async {
            loop {
                // A check may hang, on a paused server for instance.
                if let Ok(Some(answer)) = timeout(QUESTION, ask()).await {
                    return answer;
                }
                sleep(pause).await;
            }
        };
        let answer = timeout(never, asking).await;
        answer.unwrap_or_else(|_| panic!("{location}: it never came to this: {what}"))
    }
}
