//! Attempts beside each other, as RFC 8305 ("happy eyeballs") describes: a candidate that keeps silent costs a
//! quarter of a second, and not the time of a whole attempt.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

/// The lead of a candidate before the next one is tried beside it.
pub const LEAD: Duration = Duration::from_millis(250);

/// Returns the first success, and the index of its candidate; or the failures of all of them. The next candidate
/// is tried as soon as one fails, or has been silent for [`LEAD`]. `begun` is the number of those that
/// were tried so far, also if this is dropped.
pub async fn race<'a, C, T, E, F>(
    candidates: &'a [C],
    attempt: impl Fn(&'a C) -> F,
    begun: &mut usize,
) -> Result<(usize, T), Vec<(usize, E)>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut under_way = FuturesUnordered::new();
    let mut failures = Vec::new();
    let mut next_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some((index, ended)) = under_way.next() => match ended {
                Ok(success) => return Ok((index, success)),
                Err(error) => {
                    failures.push((index, error));
                    // There is nothing to wait for.
                    next_at = Instant::now();
                }
            },
            () = sleep_until(next_at), if *begun < candidates.len() => {
                let (index, attempt) = (*begun, attempt(&candidates[*begun]));
                under_way.push(async move { (index, attempt.await) });
                *begun += 1;
                next_at = Instant::now() + LEAD;
            }
            else => return Err(failures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The candidates are told apart by their numbers.
    const CANDIDATES: [u16; 4] = [1, 2, 3, 4];

    #[tokio::test(start_paused = true)]
    async fn a_candidate_that_keeps_silent_holds_the_others_up_for_a_moment() {
        let (started, mut begun) = (Instant::now(), 0);
        let attempt = |number: &u16| {
            let works = *number == 3;
            async move { if works { Ok::<_, ()>(()) } else { std::future::pending().await } }
        };
        let (index, ()) = race(&CANDIDATES, attempt, &mut begun).await.unwrap();
        assert_eq!((index, begun, started.elapsed()), (2, 3, 2 * LEAD));
    }

    #[tokio::test(start_paused = true)]
    async fn a_candidate_that_refuses_doesnt_hold_up_the_next() {
        let (started, mut begun) = (Instant::now(), 0);
        let attempt = |number: &u16| std::future::ready(if *number == 4 { Ok(()) } else { Err(()) });
        let (index, ()) = race(&CANDIDATES, attempt, &mut begun).await.unwrap();
        assert_eq!((index, started.elapsed()), (3, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_candidate_may_still_win() {
        let attempt = |number: &u16| {
            let number = *number;
            async move {
                if number > 1 {
                    return std::future::pending().await;
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
                Ok::<_, ()>(())
            }
        };
        assert_eq!(race(&CANDIDATES, attempt, &mut 0).await.unwrap().0, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn if_all_fail_each_says_why() {
        let failures = race(&CANDIDATES, |number| async move { Err::<(), _>(*number) }, &mut 0).await;
        assert_eq!(failures.unwrap_err(), [(0, 1), (1, 2), (2, 3), (3, 4)]);
        let nothing: [u16; 0] = [];
        assert_eq!(race(&nothing, |_| async { Err::<(), _>(()) }, &mut 0).await.unwrap_err(), []);
    }
}
