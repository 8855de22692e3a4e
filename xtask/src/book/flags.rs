//! The page of flags: the programs' output for `--help`.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{build, command};

/// The programs, and the part of the store that each is.
const PROGRAMS: [(&str, &str); 4] = [
    ("skv", "the command line"),
    ("kvserver", "a server"),
    ("shardmanager", "the shard manager"),
    ("skv-operator", "the Kubernetes operator"),
];

const HEAD: &str = "\
<!-- Written by `cargo xtask book` from the programs' --help. -->

# Flags

Every flag of a server, shard manager or operator can also be given by the environment variable that
stands beside it: those of a shard manager begin with `SKV_MANAGER_`, all others with `SKV_`. On
Kubernetes the operator sets them from [the resource's fields](fields.md).
";

/// Builds the programs and returns the page.
pub(super) fn page() -> anyhow::Result<String> {
    let folder =
        env::var_os("SKV_PROGRAMS").map_or_else(build::test_programs, |given| Ok(PathBuf::from(given)))?;
    let mut page = HEAD.to_owned();
    for (program, part) in PROGRAMS {
        let _ = write!(page, "\n## {program}: {part}\n");
        describe(&folder.join(program), &[], &mut page)?;
    }
    Ok(page)
}

/// Appends a command's output for `--help`, and its commands after it.
fn describe(program: &Path, commands: &[&str], page: &mut String) -> anyhow::Result<()> {
    let help = help(program, commands)?;
    if let [.., _] = commands {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let _ = write!(page, "\n### {name} {}\n", commands.join(" "));
    }
    let _ = write!(page, "\n```text\n{help}```\n");
    for command in subcommands(&help) {
        describe(program, &[commands, &[command]].concat(), page)?;
    }
    Ok(())
}

/// Returns the help without spaces at the ends of lines. The environment sets neither width nor values.
fn help(program: &Path, commands: &[&str]) -> anyhow::Result<String> {
    let mut run = Command::new(program);
    run.args(commands).arg("--help").env_clear();
    let help = command::output(&mut run)?;
    Ok(help.trim_end().lines().fold(String::new(), |text, line| text + line.trim_end() + "\n"))
}

/// Returns the commands that a help lists, except `help` itself.
fn subcommands(help: &str) -> Vec<&str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| line.starts_with("  "));
    // Deeper lines belong to the one above.
    let names =
        listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_a_help_are_found() {
        let help = "A store\n\nCommands:\n  up      Run it\n          on this machine\n  down    Stop it\n  \
                    help    Print this\n\nOptions:\n  -h, --help  Print help\n";
        assert_eq!(subcommands(help), ["up", "down"]);
        assert_eq!(subcommands("A server\n\nOptions:\n  -h\n"), [""; 0]);
    }
}
