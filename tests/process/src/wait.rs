//! Waiting for a condition.

use std::time::Duration;

use tokio::time::{sleep, timeout};

const POLL: Duration = Duration::from_millis(50);
/// Far more than anything takes: only a test that has failed gets here.
const NEVER: Duration = Duration::from_secs(90);
/// One question that takes so long isn't answered.
const QUESTION: Duration = Duration::from_secs(9);

/// Asks again and again until there is an answer. Panics, naming what was waited for, when
/// there is none for far longer than it can take.
#[track_caller]
pub fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    eventually_within(NEVER, what, ask)
}

/// The same for what consists of many steps.
#[track_caller]
pub fn eventually_within<T, F: Future<Output = Option<T>>>(
    never: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let what = what.to_owned();
    let location = std::panic::Location::caller();
    async move {
        let asking = async {
            loop {
                // One question may hang, on a paused server for instance.
                if let Ok(Some(answer)) = timeout(QUESTION, ask()).await {
                    return answer;
                }
                sleep(POLL).await;
            }
        };
        let answer = timeout(never, asking).await;
        answer.unwrap_or_else(|_| panic!("{location}: it never came to this: {what}"))
    }
}
