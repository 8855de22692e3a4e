//! The `shardmanager` process.

use clap::Parser as _;
use shardmanager::{Options, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Ok(Box::pin(run(Options::parse())).await?)
}
