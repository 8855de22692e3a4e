//! Calls of the clerk meet everything that servers and networks can do to them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod calls;
mod crowds;
mod maps;
mod networks;
mod routing;
mod rules;
mod sessions;
mod windows;

use std::time::Duration;

use skv_client::{Clerk, Options, Transport};
use skv_fake::Fake;
use skv_sharding::{Hash, ShardId};

const TRANSPORTS: [Transport; 2] = [Transport::Stream, Transport::Unary];

/// The time limit of calls, long enough for any answer.
const PATIENT: Duration = Duration::from_mins(1);

fn options(options: Options, transport: Transport) -> Options {
    let mut options = options;
    options.transport = transport;
    options.deadline = PATIENT;
    options.attempt_timeout = Duration::from_millis(100);
    options
}

fn clerk(fake: &Fake, transport: Transport) -> Clerk {
    Clerk::connect(options(Options::manager([fake.manager()]), transport)).unwrap()
}

fn hasty_clerk(fake: &Fake, transport: Transport) -> Clerk {
    let mut options = options(Options::manager([fake.manager()]), transport);
    options.deadline = Duration::from_millis(400);
    options.connect_timeout = Duration::from_millis(100);
    Clerk::connect(options).unwrap()
}

/// Leaves half its deadline for an answer to the last transmission.
fn careful_clerk(fake: &Fake, transport: Transport) -> Clerk {
    let mut options = options(Options::manager([fake.manager()]), transport);
    options.deadline = Duration::from_secs(2);
    options.attempt_timeout = Duration::from_secs(1);
    Clerk::connect(options).unwrap()
}

/// Keys that belong to this one of two shards.
fn keys_of(shard: u32) -> impl Iterator<Item = String> {
    (0..)
        .map(|i| format!("key{i}"))
        .filter(move |key| Hash::Fnv1.shard(key.as_bytes(), 2) == Ok(ShardId(shard)))
}
