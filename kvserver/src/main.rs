//! A server of ShardedKV.

use std::process::ExitCode;

/// A request allocates many small pieces, and what one thread allocates another frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match kvserver::run(skv_startup::options()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvserver: {error:#}");
            ExitCode::FAILURE
        }
    }
}
