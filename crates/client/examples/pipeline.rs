//! Many calls in flight at once: they share one stream to each server, and each message carries
//! all that is waiting.
//!
//! ```console
//! $ cargo run --release --package skv-client --example pipeline -- 127.0.0.1:11178
//! ```
//!
//! The argument is the address of the shard manager, the first line of what `cargo skv up` prints.

use std::error::Error;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use skv_client::{Clerk, Options, runtime};
use tokio::time::Instant;

const CALLS: usize = 2000;
const IN_FLIGHT: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    // A runtime in which a connection writes at once what many tasks have for it.
    runtime().build()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let manager = std::env::args().nth(1).ok_or("usage: pipeline HOST:PORT (of the shard manager)")?;
    let clerk = Clerk::connect(Options::manager([manager]))?;
    for in_flight in [1, IN_FLIGHT] {
        let started = Instant::now();
        let calls = stream::iter(0..CALLS).map(|number| put(&clerk, number)).buffer_unordered(in_flight);
        let written = calls.try_fold(0, |sum, bytes| async move { Ok(sum + bytes) }).await?;
        let seconds = started.elapsed().as_secs_f64();
        println!("{CALLS} puts of {written} bytes, {in_flight} at once: {seconds:.2} s");
    }
    Ok(())
}

async fn put(clerk: &Clerk, number: usize) -> Result<usize, skv_client::Error> {
    let value = format!("value {number}");
    let bytes = value.len();
    clerk.put(format!("key {number}"), value).await?;
    Ok(bytes)
}
