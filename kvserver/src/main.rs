//! A server of ShardedKV.

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    kvserver::process::run(kvserver::options::Options::parse())
}
