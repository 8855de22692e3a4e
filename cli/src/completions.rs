//! `skv completions`, and the values that shells complete: the stores of this machine, and the groups and
//! servers of the one that the command line names. They are read from files, so that no key waits for a
//! server.

use std::env;
use std::path::Path;

use anyhow::Context as _;
use clap_complete::env::Shells;
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate, Shell};
use skv_local::data_dir::read_record;
use skv_local::record::Record;
use skv_local::stores::{self, Choice};

use crate::outcome::Outcome;
use crate::output;

/// The variable by which a shell asks for completions.
const ASKED: &str = "SKV_COMPLETE";
const NAME: &str = "skv";

/// Print what makes a shell complete commands, and the names of stores, groups and servers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(skv completions bash)   in ~/.bashrc
  source <(skv completions zsh)    in ~/.zshrc
  skv completions fish | source    in ~/.config/fish/config.fish
")]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell.to_string()).context("there are no completions for it")?;
    let mut script = Vec::new();
    shell.write_registration(ASKED, NAME, NAME, NAME, &mut script)?;
    output::print_bytes(&script)?;
    Ok(Outcome::Done)
}

/// Ends the process if a shell asks it for completions, which it prints.
pub(crate) fn answer(command: impl Fn() -> clap::Command) {
    CompleteEnv::with_factory(command).var(ASKED).complete();
}

/// Completes groups.
pub(crate) fn groups() -> ArgValueCandidates {
    of_store(|record| record.groups().iter().map(ToString::to_string).collect())
}

/// Completes servers.
pub(crate) fn servers() -> ArgValueCandidates {
    of_store(|record| {
        let servers = record.members.into_iter().filter(|member| !member.is_manager());
        servers.map(|member| member.name).collect()
    })
}

/// Completes the processes of which there are logs.
pub(crate) fn processes() -> ArgValueCandidates {
    of_store(|record| {
        record.members.into_iter().map(|member| member.name).chain(["supervisor".to_owned()]).collect()
    })
}

/// Completes stores of this machine.
pub(crate) fn stores() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let stores = stores::all().unwrap_or_default();
        stores.into_iter().map(|entry| CompletionCandidate::new(entry.name)).collect::<Vec<_>>()
    })
}

fn of_store(values: impl Fn(Record) -> Vec<String> + Send + Sync + 'static) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let values = record(&line()).map(&values).unwrap_or_default();
        values.into_iter().map(CompletionCandidate::new).collect::<Vec<_>>()
    })
}

/// Returns the command line that is being completed.
fn line() -> Vec<String> {
    env::args_os().skip_while(|word| word != "--").map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Returns the record of the store that a command line, or else the environment, names. Shells have no use
/// for the reason why there is none.
fn record(line: &[String]) -> Option<Record> {
    let of_environment = |name| skv_startup::variable(name)?.into_string().ok();
    let named = ["--data-dir", "--store", "--manager", "--server"].map(|option| value(line, option));
    let [data_dir, store, manager, server] = if named.iter().any(Option::is_some) {
        named
    } else {
        [None, of_environment("SKV_STORE"), of_environment("SKV_MANAGER"), None]
    };
    let addresses = manager.or(server);
    let addresses =
        addresses.iter().flat_map(|list| list.split(',')).map(|address| address.trim().to_owned());
    let addresses: Vec<String> = addresses.collect();
    let choice = match (&data_dir, &store) {
        (Some(path), _) => Choice::Directory(Path::new(path)),
        (None, Some(name)) => Choice::Name(name),
        (None, None) if !addresses.is_empty() => Choice::Addresses(&addresses),
        (None, None) => Choice::Current,
    };
    read_record(&stores::locate(choice).ok()?.data_dir).ok()?
}

/// Returns the value of an option on a command line, of which bash has cut `--option=value` into three.
fn value(line: &[String], option: &str) -> Option<String> {
    let at = line.iter().position(|word| word.split('=').next() == Some(option))?;
    if let Some((_, value)) = line[at].split_once('=') {
        return Some(value.to_owned());
    }
    line[at + 1..].iter().find(|word| *word != "=").cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_has_its_value_in_any_form() {
        for line in ["skv --store two get", "skv --store=two get", "skv --store = two get"] {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(value(&line, "--store").as_deref(), Some("two"));
            assert_eq!(value(&line, "--data-dir"), None);
        }
        assert_eq!(value(&["skv".to_owned(), "--store".to_owned()], "--store"), None);
    }
}
