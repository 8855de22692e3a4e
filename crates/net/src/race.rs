//! Connecting to several addresses beside each other, as RFC 8305 ("happy eyeballs") describes: one that
//! swallows packets costs a quarter of a second, and not the whole attempt.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

/// The lead of an address before the next one is tried beside it.
const STEP: Duration = Duration::from_millis(250);

/// Returns the first connection that opens, and the index of its address. `begun` is the number of
/// addresses that were tried so far, also if this is dropped.
pub(crate) async fn race<S, F>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
    begun: &mut usize,
) -> io::Result<(usize, S)>
where
    F: Future<Output = io::Result<S>>,
{
    let mut under_way = FuturesUnordered::new();
    let mut failures: Vec<(SocketAddr, io::Error)> = Vec::new();
    let mut next_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some((index, ended)) = under_way.next() => match ended {
                Ok(stream) => return Ok((index, stream)),
                Err(error) => {
                    failures.push((addresses[index], error));
                    // There is nothing to wait for.
                    next_at = Instant::now();
                }
            },
            () = sleep_until(next_at), if *begun < addresses.len() => {
                let (index, attempt) = (*begun, connect(addresses[*begun]));
                under_way.push(async move { (index, attempt.await) });
                *begun += 1;
                next_at = Instant::now() + STEP;
            }
            else => return Err(all_failed(failures)),
        }
    }
}

/// Returns the error of an attempt of which nothing is under way any more.
fn all_failed(mut failures: Vec<(SocketAddr, io::Error)>) -> io::Error {
    let Some((_, last)) = failures.pop() else {
        return io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    };
    if failures.iter().all(|(_, error)| error.kind() == last.kind()) {
        return last;
    }
    let others: Vec<String> = failures.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    io::Error::new(last.kind(), format!("{last}; {}", others.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u16) -> Vec<SocketAddr> {
        (1..=count).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect()
    }

    fn refused() -> io::Result<()> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_keeps_silent_holds_the_others_up_for_a_moment() {
        let (started, mut begun) = (Instant::now(), 0);
        let connect = |address: SocketAddr| async move {
            if address.port() == 3 { Ok(()) } else { std::future::pending().await }
        };
        let (index, ()) = race(&addresses(4), connect, &mut begun).await.unwrap();
        assert_eq!((index, begun, started.elapsed()), (2, 3, 2 * STEP));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_doesnt_hold_up_the_next() {
        let (started, mut begun) = (Instant::now(), 0);
        let connect =
            |address: SocketAddr| async move { if address.port() == 4 { Ok(()) } else { refused() } };
        let (index, ()) = race(&addresses(4), connect, &mut begun).await.unwrap();
        assert_eq!((index, started.elapsed()), (3, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_address_may_still_win() {
        let mut begun = 0;
        let connect = |address: SocketAddr| async move {
            if address.port() > 1 {
                return std::future::pending().await;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(())
        };
        assert_eq!(race(&addresses(3), connect, &mut begun).await.unwrap().0, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn if_all_fail_it_says_why() {
        let mut begun = 0;
        let connect = |address: SocketAddr| async move {
            if address.port() == 1 { Err::<(), _>(io::Error::other("no route")) } else { refused() }
        };
        let error = race(&addresses(2), connect, &mut begun).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains("10.0.0.1:1: no route"), "{error}");
        let nothing = race(&[], |_| async { refused() }, &mut 0).await.unwrap_err();
        assert_eq!(nothing.to_string(), "the name has no address");
    }
}
