//! The `shardmanager` process.

use std::process::ExitCode;

use clap::Parser as _;
use shardmanager::{Options, run};

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(Options::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shardmanager: {error}");
            ExitCode::FAILURE
        }
    }
}
