//! How a clerk is set up.

use std::fmt;
use std::time::Duration;

use skv_net::Connector;

/// Whom a clerk asks first. Addresses are `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Shard managers: they tell the shard map and every change of it.
    Manager(Vec<String>),
    /// Client addresses of some servers: their copies of the shard map are used. Servers
    /// without one forward every call.
    Seeds(Vec<String>),
}

/// How calls travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport {
    /// One stream to each server carries all calls, many in a message.
    #[default]
    Stream,
    /// Each call is a request of its own, as any gRPC client would send it.
    Unary,
}

/// The settings of a [`Clerk`](crate::Clerk).
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Whom to ask first.
    pub target: Target,
    /// How calls travel.
    pub transport: Transport,
    /// When a call is given up.
    pub deadline: Duration,
    /// How long a transmission may stay unanswered before the call is sent again. Doubles
    /// with each transmission of the same call that overran it.
    pub attempt_timeout: Duration,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How many calls may be in flight; more wait.
    pub max_in_flight: usize,
    /// How many streams to each server.
    pub streams: usize,
    /// How many connections to each server unary calls may use; a quiet clerk uses one.
    pub connections: usize,
    /// How connections are made; `None` = TCP.
    pub connector: Option<Connector>,
    /// What the jitter of pauses follows from; `None` = the operating system's randomness.
    pub seed: Option<u64>,
}

impl Options {
    /// The defaults, for this target.
    pub fn new(target: Target) -> Options {
        Options {
            target,
            transport: Transport::default(),
            deadline: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            max_in_flight: 4096,
            streams: 1,
            connections: 4,
            connector: None,
            seed: None,
        }
    }

    /// The defaults, for these shard managers.
    pub fn manager<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Options {
        Options::new(Target::Manager(addresses.into_iter().map(Into::into).collect()))
    }

    /// The defaults, for these servers.
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
