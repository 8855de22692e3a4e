//! The settings of a clerk.

use std::fmt;
use std::time::Duration;

use skv_net::Connector;

use crate::attempt::Attempt;

/// The servers that a clerk asks first. Addresses are `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Shard managers: their shard map and every change of it are used.
    Manager(Vec<String>),
    /// Client addresses of some servers: their copies of the shard map are used. Servers
    /// without one forward every call.
    Seeds(Vec<String>),
}

/// The way in which calls travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport {
    /// A stream to each server carries all calls, many in a message.
    #[default]
    Stream,
    /// Each call is a request of its own, as any gRPC client would send it.
    Unary,
}

/// The longest time that counts; a clock can't add any more to itself.
pub(crate) const LONGEST: Duration = Duration::from_hours(30 * 365 * 24);

/// The settings of a [`Clerk`](crate::Clerk).
///
/// ```
/// use std::time::Duration;
///
/// use skv_client::{Clerk, Error, Options};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let mut store = skv_fake::Fake::group(2, 4);
/// # let servers = [store.server(0), store.server(1)];
/// # store.kill_server(0);
/// # store.kill_server(1);
/// let mut options = Options::seeds(servers);
/// options.deadline = Duration::from_millis(200);
/// options.connect_timeout = Duration::from_millis(100);
/// let clerk = Clerk::connect(options)?;
/// // None of the servers runs.
/// assert!(matches!(clerk.get("greeting").await, Err(Error::Unreachable(_))));
/// # Ok::<(), Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The servers to ask first.
    pub target: Target,
    /// The way in which calls travel.
    pub transport: Transport,
    /// The time after which a call is given up.
    pub deadline: Duration,
    /// The time that a transmission may stay unanswered before the call is sent again. Doubles
    /// with each second transmission of the same call that overran it. Half of the deadline at most.
    pub attempt_timeout: Duration,
    /// The time for which a call waits for a connection before it tries another server, and the time
    /// for the first attempt to open one. Each attempt has twice the time of the one before that ran
    /// out of it. Half of the deadline at most.
    pub connect_timeout: Duration,
    /// The number of calls that may be in flight; more wait.
    pub max_in_flight: usize,
    /// The number of streams to each server.
    pub streams: usize,
    /// The number of connections to each server that unary calls may use; a quiet clerk uses one.
    pub connections: usize,
    /// The maker of connections; `None` = TCP.
    pub connector: Option<Connector>,
    /// The seed of the jitter of pauses; `None` = the operating system's randomness.
    pub seed: Option<u64>,
}

impl Options {
    /// Returns the defaults, for this target.
    pub fn new(target: Target) -> Options {
        Options {
            target,
            transport: Transport::default(),
            deadline: Duration::from_secs(10),
            attempt_timeout: Attempt::FIRST,
            connect_timeout: Attempt::FIRST,
            max_in_flight: 4096,
            streams: 1,
            connections: 4,
            connector: None,
            seed: None,
        }
    }

    /// Returns the same with a deadline that a clock can add to itself.
    pub(crate) fn fitted(mut self) -> Options {
        self.deadline = self.deadline.min(LONGEST);
        self
    }

    /// Returns the defaults, for these shard managers.
    pub fn manager<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Options {
        Options::new(Target::Manager(addresses.into_iter().map(Into::into).collect()))
    }

    /// Returns the defaults, for these servers.
    pub fn seeds<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Options {
        Options::new(Target::Seeds(addresses.into_iter().map(Into::into).collect()))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("target", &self.target)
            .field("transport", &self.transport)
            .field("deadline", &self.deadline)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_in_flight", &self.max_in_flight)
            .field("streams", &self.streams)
            .field("connections", &self.connections)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
