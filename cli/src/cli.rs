//! The commands, and their execution.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::outcome::Outcome;
use crate::target::Target;
use crate::{
    append, bench, completions, delete, get, group, map, probe, put, rebalance, shard, status, up, workload,
};

/// A sharded, replicated, linearizable, exactly-once key/value store.
#[derive(Debug, Parser)]
#[command(
    name = "skv",
    version,
    arg_required_else_help = true,
    after_help = "\
Without --manager or --server a command uses the store that `skv up` started last.

Exit codes: 0 done, 1 failed, 2 no such key, 3 the condition of --if-revision failed.

Examples:
  skv up -f deploy/samples/quickstart.yaml --detach
  skv put greeting hello
  skv append greeting ', world'
  skv get greeting
  skv status
  skv apply -f deploy/samples/quickstart.yaml   after a change of spec.groups
"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Apply(up::apply::Args),
    Down(up::down::Args),
    Status(status::Args),
    Map(map::Args),
    Get(get::Args),
    Put(put::Args),
    Append(append::Args),
    Delete(delete::Args),
    Workload(workload::Args),
    Bench(bench::Args),
    #[command(subcommand, visible_alias = "groups")]
    Group(group::Command),
    #[command(subcommand)]
    Shard(shard::Command),
    Rebalance(rebalance::Args),
    Probe(probe::Args),
    Completions(completions::Args),
}

/// Runs the command that these arguments name.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // clap's own code, 2, means "no such key" here.
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let filter = EnvFilter::try_from_env("SKV_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    let outcome = skv_net::runtime()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(dispatch(cli)));
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let label = if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
                "\x1b[1;31merror:\x1b[0m"
            } else {
                "error:"
            };
            let _ = writeln!(io::stderr(), "{label} {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<Outcome> {
    let target = &cli.target;
    match cli.command {
        Command::Up(args) => Box::pin(up::run(target, args)).await.map(|()| Outcome::Done),
        Command::Apply(args) => Box::pin(up::apply::run(target, args)).await.map(|()| Outcome::Done),
        Command::Down(args) => up::down::run(args).await.map(|()| Outcome::Done),
        Command::Status(args) => status::run(target, &args).await,
        Command::Map(args) => map::run(target, &args).await,
        Command::Get(args) => get::run(target, args).await,
        Command::Put(args) => put::run(target, args).await,
        Command::Append(args) => append::run(target, args).await,
        Command::Delete(args) => delete::run(target, args).await,
        Command::Workload(args) => workload::run(target, args).await,
        Command::Bench(args) => bench::run(target, &args).await,
        Command::Group(command) => group::run(target, command).await,
        Command::Shard(command) => shard::run(target, command).await,
        Command::Rebalance(args) => rebalance::run(target, &args).await,
        Command::Probe(args) => probe::run(target, &args).await,
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
    }
}

/// Returns true if the reader of our output has closed it, which is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
