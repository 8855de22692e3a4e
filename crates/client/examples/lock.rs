//! A lock: the client that makes the key holds it, and only the holder removes it.
//!
//! ```console
//! $ cargo run --package skv-client --example lock -- 127.0.0.1:11178
//! ```
//!
//! The argument is the address of the shard manager, the first line of what `cargo skv up` prints.
//!
//! The revision under which the key was made is a fencing token: it rises with each holder, so that
//! the protected resource can refuse a slow holder. A key doesn't expire: a holder that dies keeps
//! the lock until somebody removes it.

use std::error::Error;
use std::time::Duration;

use futures::future::try_join_all;
use skv_client::{Clerk, Error as ClerkError, Options, Revision};

const LOCK: &str = "lock";
const PROTECTED: &str = "protected";
const TASKS: usize = 4;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let manager = std::env::args().nth(1).ok_or("usage: lock HOST:PORT (of the shard manager)")?;
    let clerk = Clerk::connect(Options::manager([manager]))?;
    let tokens = try_join_all((0..TASKS).map(|task| work(&clerk, format!("task {task}")))).await?;
    println!("each of {TASKS} tasks held the lock, with the tokens {tokens:?}");
    Ok(())
}

async fn work(clerk: &Clerk, name: String) -> Result<u64, Box<dyn Error>> {
    let token = acquire(clerk, &name).await?;
    // Not atomic: safe only because nobody else does it meanwhile.
    let old = clerk.get(PROTECTED).await?.value;
    let new = format!("{}{name}, ", String::from_utf8_lossy(&old));
    clerk.put(PROTECTED, new).await?;
    release(clerk, token).await?;
    Ok(token.0)
}

/// Waits until the lock is free, and returns the fencing token. The name must be unique.
async fn acquire(clerk: &Clerk, name: &str) -> Result<Revision, ClerkError> {
    loop {
        match clerk.put_if(LOCK, name.to_owned(), Revision(0)).await {
            Ok(put) if put.success => return Ok(put.revision),
            Ok(_) => {}
            // The only error after which the lock may be ours: then the key has our name.
            Err(ClerkError::OutcomeUnknown(_)) => {
                let held = clerk.get(LOCK).await?;
                if held.value == name {
                    return Ok(held.revision);
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Gives the lock back, if it is still held under this token.
async fn release(clerk: &Clerk, token: Revision) -> Result<(), ClerkError> {
    clerk.delete_if(LOCK, token).await.map(|_| ())
}
