//! The `shardmanager` process.

use std::process::ExitCode;

use shardmanager::run;

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(skv_startup::options())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shardmanager: {error}");
            ExitCode::FAILURE
        }
    }
}
