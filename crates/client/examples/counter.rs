//! Several tasks count with one key: a value is replaced only if nobody has changed it since it was
//! read.
//!
//! ```console
//! $ cargo run --package skv-client --example counter -- 127.0.0.1:11178
//! ```
//!
//! The argument is the address of the shard manager, the first line of what `cargo skv up` prints.
//!
//! The condition makes each increment atomic. That it is counted once, although a lost request is
//! sent again, is the clerk's work: the repetition gets the answer of the first transmission,
//! rather than a failed condition.

use std::error::Error;

use futures::future::try_join_all;
use skv_client::{Clerk, Options};

const KEY: &str = "counter";
const TASKS: usize = 4;
const INCREMENTS: usize = 25;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let manager = std::env::args().nth(1).ok_or("usage: counter HOST:PORT (of the shard manager)")?;
    let clerk = Clerk::connect(Options::manager([manager]))?;
    let before = count(&clerk.get(KEY).await?.value)?;
    try_join_all((0..TASKS).map(|_| increment_often(&clerk))).await?;
    let after = count(&clerk.get(KEY).await?.value)?;
    println!("counted from {before} to {after}");
    Ok(())
}

async fn increment_often(clerk: &Clerk) -> Result<(), Box<dyn Error>> {
    for _ in 0..INCREMENTS {
        increment(clerk).await?;
    }
    Ok(())
}

async fn increment(clerk: &Clerk) -> Result<u64, Box<dyn Error>> {
    loop {
        let old = clerk.get(KEY).await?;
        let next = count(&old.value)? + 1;
        // A key that isn't there has revision 0, and that is also the condition for making it.
        if clerk.put_if(KEY, next.to_string(), old.revision).await?.success {
            return Ok(next);
        }
    }
}

fn count(value: &[u8]) -> Result<u64, Box<dyn Error>> {
    if value.is_empty() { Ok(0) } else { Ok(std::str::from_utf8(value)?.parse()?) }
}
