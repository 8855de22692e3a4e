//! The `skv-operator` process.

use std::process::ExitCode;

use skv_operator::run;

#[tokio::main]
async fn main() -> ExitCode {
    match run(skv_startup::options()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skv-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
