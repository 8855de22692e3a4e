//! Names, and the order in which their addresses are tried.
//!
//! A lookup continues when its caller gives up. A name server that is lost, and asked before the one that
//! answers, costs five seconds and more; a caller that tries again would wait for it from the
//! beginning. So the next caller joins the lookup under way, or finds its result.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout};

use crate::race::race;
use crate::silence::{Watched, watched};

/// The time for which the result of a lookup is used, also if the lookup failed.
const FRESH: Duration = Duration::from_secs(1);
/// The time for which a lookup is waited for if there is an older result.
const NEWER: Duration = Duration::from_millis(500);

/// The number of names that are kept. Beyond it those are forgotten that nobody waits for.
const MOST: usize = 4096;

/// Looks up all addresses of `HOST:PORT`.
type Find = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

type Found = Result<Vec<SocketAddr>, Failure>;

/// The reason for which a lookup failed; kept for those that ask meanwhile.
#[derive(Debug, Clone)]
struct Failure {
    kind: io::ErrorKind,
    text: Arc<str>,
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> io::Error {
        io::Error::new(failure.kind, failure.text.to_string())
    }
}

/// The names that were looked up.
#[derive(Clone)]
pub(crate) struct Names {
    find: Find,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

#[derive(Default)]
struct Known {
    /// The last result that had addresses.
    addresses: Vec<SocketAddr>,
    /// The last result, and when it came.
    last: Option<(Instant, Result<(), Failure>)>,
    /// The lookup under way.
    lookup: Option<Shared<BoxFuture<'static, Found>>>,
    /// The address with which the next attempt to connect begins.
    first: Option<SocketAddr>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    /// Returns names that the operating system looks up.
    pub(crate) fn system() -> Names {
        Names::new(|name| async move { Ok(tokio::net::lookup_host(name).await?.collect()) })
    }

    fn new<F>(find: impl Fn(String) -> F + Send + Sync + 'static) -> Names
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Names { find: Arc::new(move |name| find(name).boxed()), known: Arc::default() }
    }

    /// Returns all addresses of `HOST:PORT`. If they can't be found now, those that it had before count.
    pub(crate) async fn addresses(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let (lookup, before) = {
            let mut known = self.known.lock();
            if known.len() >= MOST {
                known.retain(|_, known| known.lookup.is_some());
            }
            let known = known.entry(name.to_owned()).or_default();
            if let Some((at, last)) = &known.last
                && at.elapsed() < FRESH
            {
                return match last {
                    Err(failure) if known.addresses.is_empty() => Err(failure.clone().into()),
                    _ => Ok(known.addresses.clone()),
                };
            }
            let lookup = known.lookup.get_or_insert_with(|| self.look_up(name.to_owned())).clone();
            (lookup, known.addresses.clone())
        };
        if before.is_empty() {
            return Ok(lookup.await?);
        }
        Ok(timeout(NEWER, lookup).await.ok().and_then(Result::ok).unwrap_or(before))
    }

    /// Begins a lookup, which goes on when nobody waits for it any more.
    fn look_up(&self, name: String) -> Shared<BoxFuture<'static, Found>> {
        let (find, known) = ((self.find)(name.clone()), self.known.clone());
        let lookup = async move {
            let found = match find.await {
                Ok(none) if none.is_empty() => {
                    Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
                }
                found => found,
            };
            let found = found.map_err(|e| Failure { kind: e.kind(), text: e.to_string().into() });
            if let Some(known) = known.lock().get_mut(&name) {
                known.lookup = None;
                known.last = Some((Instant::now(), found.as_ref().map(|_| ()).map_err(Failure::clone)));
                if let Ok(addresses) = &found {
                    known.addresses.clone_from(addresses);
                }
            }
            found
        };
        let lookup = lookup.boxed().shared();
        tokio::spawn(lookup.clone());
        lookup
    }

    /// Connects to one of a name's addresses: to the one that worked last; after a failure the next
    /// attempt begins with another. A connection that ends before a byte came was a failure too.
    pub(crate) async fn connect<S, F>(
        &self,
        name: &str,
        connect: impl Fn(SocketAddr) -> F,
    ) -> io::Result<Watched<S>>
    where
        S: AsyncRead,
        F: Future<Output = io::Result<S>>,
    {
        let addresses = self.addresses(name).await?;
        let first = self.known.lock().get(name).and_then(|known| known.first);
        let mut attempt = Attempt { names: self, name, order: order(&addresses, first), begun: 0 };
        let raced = race(&attempt.order, |address| connect(*address), &mut attempt.begun).await;
        let (index, stream) = raced.map_err(|failures| all_failed(&attempt.order, failures))?;
        let next = attempt.order[(index + 1) % attempt.order.len()];
        attempt.succeed(index);
        let (names, name) = (self.clone(), name.to_owned());
        Ok(watched(stream, move || names.begin_next_with(&name, next)))
    }

    fn begin_next_with(&self, name: &str, first: SocketAddr) {
        if let Some(known) = self.known.lock().get_mut(name) {
            known.first = Some(first);
        }
    }
}

/// An attempt to connect; it may be given up at any time.
struct Attempt<'a> {
    names: &'a Names,
    name: &'a str,
    order: Vec<SocketAddr>,
    /// The number of addresses that were tried.
    begun: usize,
}

impl Attempt<'_> {
    fn succeed(mut self, index: usize) {
        self.names.begin_next_with(self.name, self.order[index]);
        self.begun = 0;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.begun == 0 {
            return;
        }
        // One that wasn't tried; if all were, the one after the first.
        let next = if self.begun < self.order.len() { self.begun } else { 1 % self.order.len() };
        self.names.begin_next_with(self.name, self.order[next]);
    }
}

/// Returns the error of an attempt of which nothing is under way any more.
fn all_failed(addresses: &[SocketAddr], mut failures: Vec<(usize, io::Error)>) -> io::Error {
    let Some((_, last)) = failures.pop() else {
        return io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    };
    if failures.iter().all(|(_, error)| error.kind() == last.kind()) {
        return last;
    }
    let others = failures.iter().map(|(index, error)| format!("{}: {error}", addresses[*index]));
    io::Error::new(last.kind(), format!("{last}; {}", others.collect::<Vec<_>>().join("; ")))
}

/// Returns addresses in the order in which they are tried: the two families in turn, as RFC 8305 has it,
/// beginning with `first` if that is one of them.
fn order(addresses: &[SocketAddr], first: Option<SocketAddr>) -> Vec<SocketAddr> {
    let Some(preferred) = addresses.first() else { return Vec::new() };
    let (same, other): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == preferred.is_ipv6());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(same.next());
        order.extend(other.next());
    }
    let start = first.and_then(|first| order.iter().position(|address| *address == first));
    order.rotate_left(start.unwrap_or(0));
    order
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn all(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn the_families_are_tried_in_turn() {
        let addresses = all(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"]);
        assert_eq!(order(&addresses, None), all(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"]));
        let second = Some(addresses[3]);
        assert_eq!(order(&addresses, second), all(&["10.0.0.1:1", "[::2]:1", "[::3]:1", "[::1]:1"]));
        let gone = Some("10.9.9.9:1".parse().unwrap());
        assert_eq!(order(&all(&["10.0.0.1:1", "[::1]:1"]), gone), all(&["10.0.0.1:1", "[::1]:1"]));
    }

    /// A name whose lookups take some time, and how many were made.
    fn slow(takes: Duration, works: Arc<AtomicBool>) -> (Names, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let names = Names::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            let works = works.load(Ordering::Relaxed);
            async move {
                tokio::time::sleep(takes).await;
                if works { Ok(all(&["10.0.0.1:1"])) } else { Err(io::Error::other("no name server")) }
            }
        });
        (names, count)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_outlives_those_that_give_it_up() {
        let (names, count) = slow(Duration::from_secs(5), Arc::new(AtomicBool::new(true)));
        for _ in 0..4 {
            let patience = Duration::from_secs(1);
            assert!(timeout(patience, names.addresses("store:1")).await.is_err(), "it takes five seconds");
        }
        let found = timeout(Duration::from_secs(2), names.addresses("store:1")).await;
        assert_eq!(found.unwrap().unwrap(), all(&["10.0.0.1:1"]));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_asked_for_once_a_second_at_most() {
        for works in [true, false] {
            let (names, count) = slow(Duration::ZERO, Arc::new(AtomicBool::new(works)));
            for _ in 0..100 {
                assert_eq!(names.addresses("store:1").await.is_ok(), works);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(count.load(Ordering::Relaxed) <= 6, "{count:?} lookups in five seconds");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_lookup_fails_or_lasts_the_addresses_from_before_count() {
        let works = Arc::new(AtomicBool::new(true));
        let (names, _) = slow(Duration::from_mins(1), works.clone());
        names.addresses("store:1").await.unwrap();
        works.store(false, Ordering::Relaxed);
        for _ in 0..3 {
            tokio::time::sleep(FRESH).await;
            let found = timeout(2 * NEWER, names.addresses("store:1")).await.expect("it waits too long");
            assert_eq!(found.unwrap(), all(&["10.0.0.1:1"]));
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
    }

    #[tokio::test]
    async fn an_address_needs_no_lookup() {
        let names = Names::new(|name| async move { panic!("{name} was looked up") });
        assert_eq!(names.addresses("[::1]:7000").await.unwrap(), all(&["[::1]:7000"]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_attempt_begins_with_another_address() {
        let names = Names::new(|_| async { Ok(all(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"])) });
        let first = Mutex::new(Vec::new());
        let dead = |address| {
            first.lock().push(address);
            std::future::pending::<io::Result<tokio::io::Empty>>()
        };
        for _ in 0..4 {
            // Too short for a second address.
            let _ = timeout(Duration::from_millis(100), names.connect("store:1", dead)).await;
        }
        let tried = all(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.1:1"]);
        assert_eq!(*first.lock(), tried);
    }

    #[tokio::test(start_paused = true)]
    async fn what_worked_is_tried_first() {
        let names = Names::new(|_| async { Ok(all(&["[::1]:1", "10.0.0.2:1"])) });
        let tried = Mutex::new(Vec::new());
        let connect = |address: SocketAddr| {
            tried.lock().push(address);
            async move { if address.is_ipv4() { Ok(&b"hello"[..]) } else { std::future::pending().await } }
        };
        assert_eq!(names.connect("store:1", connect).await.unwrap().read_u8().await.unwrap(), b'h');
        tried.lock().clear();
        names.connect("store:1", connect).await.unwrap();
        assert_eq!(*tried.lock(), all(&["10.0.0.2:1"]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_accepts_and_says_nothing_is_left() {
        let names = Names::new(|_| async { Ok(all(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"])) });
        let tried = Mutex::new(Vec::new());
        let connect = |address: SocketAddr| {
            tried.lock().push(address);
            async { Ok(tokio::io::empty()) }
        };
        for _ in 0..4 {
            let mut silent = names.connect("store:1", connect).await.unwrap();
            assert!(silent.read_u8().await.is_err(), "it ends");
        }
        let others = all(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.1:1"]);
        assert_eq!(*tried.lock(), others);
    }

    #[test]
    fn if_all_addresses_fail_the_error_has_each_reason() {
        let addresses = all(&["10.0.0.1:1", "10.0.0.2:1"]);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = all_failed(&addresses, vec![(0, io::Error::other("no route")), (1, refused())]);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains("10.0.0.1:1: no route"), "{error}");
        let same = all_failed(&addresses, vec![(0, refused()), (1, refused())]);
        assert!(!same.to_string().contains("10.0.0.1"), "{same}");
        assert_eq!(all_failed(&[], Vec::new()).to_string(), "the name has no address");
    }
}
