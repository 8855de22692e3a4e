//! The `skv-operator` process.

use std::process::ExitCode;

use clap::Parser as _;
use skv_operator::{Options, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skv-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
