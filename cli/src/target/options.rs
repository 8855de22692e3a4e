//! The options that name a store, and the commands that take them. A command that would ignore one of them
//! hides it from its help, and refuses it: else it would do something else than it was told.

use anyhow::bail;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::name::Name;

/// The options that each name a store.
const STORE: [&str; 4] = ["store", "data_dir", "manager", "server"];
/// The options that name a namespace of a cluster, in which the store is.
const CLUSTER: [&str; 3] = ["namespace", "context", "kubeconfig"];
/// Those of commands that know no store in Kubernetes.
const OUTSIDE: [&str; 5] = ["store", "data_dir", "manager", "server", "timeout"];
const WITHOUT_LIMIT: [&str; 7] =
    ["store", "data_dir", "manager", "server", "namespace", "context", "kubeconfig"];
const ALL: [&str; 8] =
    ["store", "data_dir", "manager", "server", "timeout", "namespace", "context", "kubeconfig"];

/// Returns the options that a command obeys.
fn obeyed_by(command: &str) -> &'static [&'static str] {
    match command {
        "completions" | "explain" | "validate" | "stores" => &[],
        "use" => &["data_dir"],
        "probe" => &["timeout"],
        "up" => &["data_dir", "timeout"],
        "apply" => &OUTSIDE,
        "down" | "env" => &STORE,
        "logs" => &WITHOUT_LIMIT,
        _ => &ALL,
    }
}

/// Returns the command line in which each command shows only the options that it obeys, and in which an
/// environment variable without a value counts as unset.
pub(crate) fn tidy(mut command: Command) -> Command {
    command = skv_startup::forget_blank_variables(command);
    let options: Vec<clap::Arg> = command.get_arguments().cloned().collect();
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let ignored = options.iter().filter(|option| {
            ALL.contains(&option.get_id().as_str()) && !obeyed_by(&name).contains(&option.get_id().as_str())
        });
        let ignored = ignored.map(|option| option.clone().global(false).hide(true));
        command = command.mut_subcommand(&name, |sub| sub.args(ignored));
    }
    command
}

/// Refuses options that the command would ignore. Returns true if the store is one in Kubernetes: the options say
/// so, or the program's name does and no option names another store.
pub(super) fn are_of_cluster(matches: &ArgMatches, name: Name) -> anyhow::Result<bool> {
    let command = matches.subcommand_name().unwrap_or_default();
    let obeyed = obeyed_by(command);
    let given = |id: &&str| is_given(matches, id);
    if let Some(ignored) = ALL.iter().copied().filter(given).find(|id| !obeyed.contains(id)) {
        bail!("`{} {command}` doesn't take --{}{}", name.text(), flag(ignored), instead(obeyed));
    }
    let of_cluster = CLUSTER.iter().copied().find(given);
    let elsewhere = ["data_dir", "manager", "server"].into_iter().find(given);
    match (of_cluster, elsewhere) {
        (Some(cluster), Some(other)) => {
            bail!("--{} and --{} each name a store: give one of them", flag(cluster), flag(other))
        }
        (Some(_), None) => Ok(true),
        (None, Some(_)) => Ok(false),
        (None, None) => Ok(name == Name::KubectlSkv && CLUSTER.iter().all(|id| obeyed.contains(id))),
    }
}

/// Returns true if an option is given on the command line.
pub(super) fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// Refuses several options that each name a store. Returns those that name the store: on the command line if there
/// are any, else in the environment.
pub(super) fn naming(matches: &ArgMatches) -> anyhow::Result<Vec<&'static str>> {
    let obeyed = obeyed_by(matches.subcommand_name().unwrap_or_default());
    let from = |source: ValueSource| move |id: &&str| matches.value_source(id) == Some(source);
    for source in [ValueSource::CommandLine, ValueSource::EnvVariable] {
        let named: Vec<&str> =
            STORE.iter().copied().filter(|id| obeyed.contains(id)).filter(from(source)).collect();
        match named.as_slice() {
            [] => {}
            [first, second, ..] if source == ValueSource::EnvVariable => {
                bail!(
                    "{} and {} are set, and each names a store: unset one",
                    variable(first),
                    variable(second)
                )
            }
            [first, second, ..] => {
                bail!("--{} and --{} each name a store: give one of them", flag(first), flag(second))
            }
            [_] => return Ok(named),
        }
    }
    Ok(Vec::new())
}

/// Returns the variables that are set and name a store.
pub(crate) fn variables_set() -> impl Iterator<Item = String> {
    let options = ["store", "manager"].into_iter();
    options.map(variable).filter(|name| skv_startup::variable(name).is_some())
}

/// Returns the environment variable of an option.
fn variable(id: &str) -> String {
    format!("SKV_{}", id.to_uppercase())
}

fn flag(id: &str) -> String {
    id.replace('_', "-")
}

fn instead(obeyed: &[&str]) -> String {
    match obeyed.first() {
        Some(first) if STORE.contains(first) => format!(": --{} names its store", flag(first)),
        _ => String::new(),
    }
}
