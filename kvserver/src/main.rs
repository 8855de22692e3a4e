//! A server of ShardedKV.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match kvserver::process::run(kvserver::options::Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvserver: {error:#}");
            ExitCode::FAILURE
        }
    }
}
