//! `skv env`.

use serde::Serialize;

use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::target::Target;

/// Print the environment variable by which other programs find a store of this machine.
///
/// Ports may be others after the store was started again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  eval \"$(skv env)\"                  then $SKV_MANAGER is its shard manager
  skv --store quickstart env
  skv env -o json                    with the addresses of all servers
")]
pub(crate) struct Args {
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Environment {
    name: String,
    manager_address: String,
    client_addresses: Vec<String>,
}

pub(crate) fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    let local = target.running()?;
    match args.output.format {
        Format::Json => output::print_json(&Environment {
            name: local.name,
            manager_address: local.manager,
            client_addresses: local.servers,
        })?,
        Format::Text => output::say(format_args!("export SKV_MANAGER={}", local.manager))?,
    }
    Ok(Outcome::Done)
}
