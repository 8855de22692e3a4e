//! The commands, and how each is run.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::data::{append, delete, get, put, which};
use crate::machine::{choose, environment, logs, stores};
use crate::manifest::{explain, validate};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::target::{self, Target};
use crate::{
    bench, complaint, completions, diag, group, map, output, plugin, probe, rebalance, shard, status, top,
    up, workload,
};

/// A sharded, replicated, linearizable, exactly-once key/value store.
#[derive(Debug, Parser)]
#[command(
    name = "skv",
    version,
    arg_required_else_help = true,
    after_help = "\
Without --store, --data-dir, --manager or --server a command uses the store that `skv up` started last, or that \
`skv use` chose.

Exit codes: 0 done, 1 failed, 2 no such key, 3 the condition of --if-revision failed, \
4 not known yet.

Environment:
  SKV_HOME                 where stores and the choice of one are kept
                           [default: ~/.local/share/skv]
  SKV_STORE, SKV_MANAGER   the options --store and --manager
  SKV_LOG                  what is logged to standard error [default: warn]
  NO_COLOR                 no colours

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
    Stores(stores::Args),
    Use(choose::Args),
    Env(environment::Args),
    #[command(alias = "log")]
    Logs(logs::Args),
    Validate(validate::Args),
    Explain(explain::Args),
    Status(status::Args),
    Top(top::Args),
    Map(map::Args),
    Get(get::Args),
    #[command(visible_alias = "set")]
    Put(put::Args),
    Append(append::Args),
    #[command(visible_aliases = ["del", "rm"])]
    Delete(delete::Args),
    Which(which::Args),
    Workload(workload::Args),
    Bench(bench::Args),
    #[command(subcommand, alias = "groups")]
    Group(group::Command),
    #[command(subcommand, alias = "shards")]
    Shard(shard::Command),
    Rebalance(rebalance::Args),
    Diag(diag::Args),
    Probe(probe::Args),
    Completions(completions::Args),
}

/// Returns the command line of the program under this name.
fn command(name: Name) -> clap::Command {
    let command = Cli::command();
    target::tidy(match name {
        Name::Skv => command,
        Name::KubectlSkv => plugin::dressed(command),
    })
}

/// Runs the command that these arguments name.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().peekable();
    let name = arguments.peek().map_or(Name::Skv, |program| Name::of(program));
    completions::answer(|| command(name));
    let parsed = command(name).try_get_matches_from(arguments).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            // clap's own code, 2, means "no such key" here.
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let filter = skv_startup::log_filter("SKV_LOG", "warn");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    let runtime = skv_net::runtime().build().map_err(anyhow::Error::from);
    let outcome = runtime.and_then(|runtime| runtime.block_on(dispatch(cli, &matches, name)));
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) if error.is::<output::Unread>() => ExitCode::SUCCESS,
        Err(error) => {
            let is_coloured = output::wants_colour(io::stderr().is_terminal());
            let label = if is_coloured { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
            let _ = writeln!(io::stderr(), "{label} {}", complaint::text(&error));
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(cli: Cli, matches: &clap::ArgMatches, name: Name) -> anyhow::Result<Outcome> {
    let Cli { mut target, command } = cli;
    target.settle(matches, name).await?;
    let target = &target;
    match command {
        Command::Up(args) => Box::pin(up::run(target, args)).await.map(|()| Outcome::Done),
        Command::Apply(args) => Box::pin(up::apply::run(target, args)).await.map(|()| Outcome::Done),
        Command::Down(args) => up::down::run(target, &args).await.map(|()| Outcome::Done),
        Command::Stores(args) => stores::run(&args),
        Command::Use(args) => choose::run(target, args),
        Command::Env(args) => environment::run(target, &args),
        Command::Logs(args) => logs::run(target, &args).await,
        Command::Validate(args) => validate::run(args),
        Command::Explain(args) => explain::run(&args),
        Command::Status(args) => status::run(target, &args).await,
        Command::Top(args) => top::run(target, &args).await,
        Command::Map(args) => map::run(target, &args).await,
        Command::Get(args) => get::run(target, args).await,
        Command::Put(args) => put::run(target, args).await,
        Command::Append(args) => append::run(target, args).await,
        Command::Delete(args) => delete::run(target, args).await,
        Command::Which(args) => which::run(target, args).await,
        Command::Workload(args) => workload::run(target, args).await,
        Command::Bench(args) => bench::run(target, &args).await,
        Command::Group(command) => group::run(target, command).await,
        Command::Shard(command) => shard::run(target, command).await,
        Command::Rebalance(args) => rebalance::run(target, &args).await,
        Command::Diag(args) => diag::run(target, &args).await,
        Command::Probe(args) => probe::run(target, &args).await,
        Command::Completions(args) => completions::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls this with each command that does something, and the words that name it.
    fn each(command: &clap::Command, words: &str, see: &mut impl FnMut(&clap::Command, &str)) {
        let mut subcommands = command.get_subcommands().filter(|sub| sub.get_name() != "help").peekable();
        if subcommands.peek().is_none() {
            see(command, words);
        }
        for sub in subcommands {
            each(sub, &format!("{words} {}", sub.get_name()), see);
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        for name in [Name::Skv, Name::KubectlSkv] {
            command(name).debug_assert();
        }
    }

    #[test]
    fn every_help_has_examples_of_its_command() {
        for name in [Name::Skv, Name::KubectlSkv] {
            each(&command(name), name.text(), &mut |command, words| {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                let examples = help.split_once("Example").map_or("", |(_, examples)| examples);
                assert!(examples.contains(words), "{words}: {help}");
            });
        }
    }

    /// clap breaks what is longer, and a row that goes on below its first column can't be read.
    #[test]
    fn tables_and_examples_of_helps_fit_a_terminal_of_80_columns() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter(|line| line.starts_with(' ')) {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            command.get_subcommands().filter(|sub| !sub.is_hide_set()).for_each(check);
        }
        for name in [Name::Skv, Name::KubectlSkv] {
            check(&command(name));
        }
    }

    fn parsed(name: Name, line: &str) -> Result<clap::ArgMatches, clap::Error> {
        command(name).try_get_matches_from(line.split(' '))
    }

    #[test]
    fn the_plugin_has_the_options_of_kubectl() {
        let matches = parsed(Name::KubectlSkv, "kubectl-skv logs g0 -n prod -f --lines 5").unwrap();
        assert_eq!(matches.get_one::<String>("namespace").map(String::as_str), Some("prod"));
        let matches = parsed(Name::Skv, "skv logs -n 5").unwrap();
        assert_eq!(matches.get_one::<String>("namespace"), None);
        let help = command(Name::KubectlSkv).render_long_help().to_string();
        assert!(help.contains("Usage: kubectl skv ") && !help.contains("\n  up "), "{help}");
    }

    #[test]
    fn every_command_of_the_runbooks_is_understood() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbooks");
        let mut tried = 0;
        for page in std::fs::read_dir(folder).unwrap() {
            let path = page.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            for code in text.split('`').skip(1).step_by(2) {
                // Code may go on in the next line.
                let line = code.split_whitespace().collect::<Vec<_>>().join(" ");
                let Some(arguments) = line.strip_prefix("kubectl skv ") else { continue };
                let arguments = arguments.replace("GROUP", "g0").replace("SHARD", "3");
                if let Err(error) = parsed(Name::KubectlSkv, &format!("kubectl-skv {arguments}")) {
                    panic!("{}: {line}: {error}", path.display());
                }
                tried += 1;
            }
        }
        assert!(tried > 10, "only {tried} commands were found");
    }

    #[test]
    fn a_help_shows_no_option_that_its_command_ignores() {
        let mut command = command(Name::Skv);
        command.build();
        for (name, shown, hidden) in [
            ("completions", &[][..], &["--manager", "--timeout", "--store"][..]),
            ("up", &["--data-dir"], &["--manager", "--server", "--store"]),
            ("down", &["--manager", "--store"], &["--timeout"]),
            ("get", &["--manager", "--server", "--store", "--data-dir", "--timeout"], &[]),
        ] {
            let help = command.find_subcommand_mut(name).unwrap().render_long_help().to_string();
            assert!(shown.iter().all(|option| help.contains(option)), "{name}: {help}");
            assert!(!hidden.iter().any(|option| help.contains(option)), "{name}: {help}");
        }
    }
}
