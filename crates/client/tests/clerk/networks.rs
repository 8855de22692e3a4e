//! Networks that are slow, or lead nowhere for a while.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use skv_client::{Clerk, Error, Options};
use skv_fake::{Fake, Fate};
use tokio::net::TcpStream;

use crate::{TRANSPORTS, options};

/// The time that a call waits for a connection.
const CONNECT: Duration = Duration::from_millis(50);

/// Returns the settings of a clerk in whose network a connection takes this long, and a count of the
/// attempts.
fn slow(given: Options, takes: Duration) -> (Options, Arc<AtomicUsize>) {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let mut options = given;
    options.connect_timeout = CONNECT;
    options.connector = Some(skv_net::connector(move |address| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(takes).await;
            TcpStream::connect(address).await
        }
    }));
    (options, attempts)
}

#[tokio::test]
async fn a_connection_may_take_longer_than_a_call_waits_for_one() {
    for transport in TRANSPORTS {
        for by_manager in [true, false] {
            let fake = Fake::group(1, 4);
            let target = if by_manager {
                Options::manager([fake.manager()])
            } else {
                Options::seeds([fake.server(0)])
            };
            let (options, _) = slow(options(target, transport), 5 * CONNECT);
            let clerk = Clerk::connect(options).unwrap();
            clerk.put("k", "v").await.unwrap();
            assert_eq!(clerk.get("k").await.unwrap().value, "v");
        }
    }
}

#[tokio::test]
async fn callers_share_one_attempt_and_give_up_at_their_deadline() {
    let fake = Fake::group(1, 4);
    for transport in TRANSPORTS {
        let (mut options, attempts) =
            slow(options(Options::seeds([fake.server(0)]), transport), Duration::from_hours(1));
        options.deadline = 10 * CONNECT;
        let clerk = Clerk::connect(options).unwrap();
        let calls = (0..50).map(|number| {
            let clerk = clerk.clone();
            async move { clerk.get(format!("k{number}")).await }
        });
        for ended in futures::future::join_all(calls).await {
            assert!(matches!(ended, Err(Error::Unreachable(_))), "{ended:?}");
        }
        // 1, 2 and 4 times what a call waits, and as many again for the clerk's questions for a map.
        let attempts = attempts.load(Ordering::Relaxed);
        assert!(attempts <= 12, "{attempts} attempts");
    }
}

/// Returns a listener that accepts connections and never says a word, as a process that stands still.
fn mute() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn one_silent_address_doesnt_use_up_the_deadline() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 4);
        let ((_first, first), (_second, second)) = (mute(), mute());
        for target in [
            Options::seeds([first.clone(), second.clone(), fake.server(0)]),
            Options::manager([first, second, fake.manager()]),
        ] {
            let mut options = options(target, transport);
            // The silent ones alone could use up all of it.
            options.attempt_timeout = Duration::from_millis(2500);
            options.deadline = Duration::from_secs(5);
            Clerk::connect(options).unwrap().put("k", "v").await.unwrap();
        }
    }
}

#[tokio::test]
async fn silent_servers_dont_use_up_the_deadline_of_a_session() {
    for transport in TRANSPORTS {
        let fake = Fake::group(3, 4);
        fake.open_no_sessions(2);
        let mut options = options(Options::manager([fake.manager()]), transport);
        options.attempt_timeout = Duration::from_secs(5);
        options.deadline = Duration::from_secs(10);
        Clerk::connect(options).unwrap().put("k", "v").await.unwrap();
    }
}

#[tokio::test]
async fn no_time_is_too_long() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 4);
        fake.rule(|seen| if seen.nth < 3 { Fate::Break } else { Fate::Serve });
        let mut options = options(Options::manager([fake.manager()]), transport);
        (options.deadline, options.attempt_timeout) = (Duration::MAX, Duration::MAX);
        options.connect_timeout = Duration::MAX;
        Clerk::connect(options).unwrap().put("k", "v").await.unwrap();
    }
}

#[tokio::test]
async fn a_network_that_comes_back_is_found_within_the_call() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 4);
        let mut options = options(Options::manager([fake.manager()]), transport);
        options.connect_timeout = CONNECT;
        let attempts = Arc::new(AtomicUsize::new(0));
        options.connector = Some(skv_net::connector(move |address| {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            async move {
                match attempt {
                    0 | 1 => std::future::pending().await,
                    2 => Err(io::ErrorKind::HostUnreachable.into()),
                    _ => TcpStream::connect(address).await,
                }
            }
        }));
        Clerk::connect(options).unwrap().put("k", "v").await.unwrap();
    }
}
