//! The options of a process: flags, or environment variables.
//!
//! Files of variables and templates often have lines such as `NAME=`, and lists with blanks after
//! their commas: both mean what people mean by them.

use std::env;
use std::ffi::{OsStr, OsString};
use std::str::FromStr;

use clap::{Command, Parser};

/// Returns the options of this process. If they are wrong, it prints the reason and ends the process.
pub fn options<T: Parser>() -> T {
    let matches = forget_blank_variables(T::command()).get_matches();
    T::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut T::command()).exit())
}

/// Returns a command line for which an environment variable that is empty, or blank, counts as unset.
#[must_use]
pub fn forget_blank_variables(command: Command) -> Command {
    let command = command.mut_args(|option| {
        if option.get_env().is_some_and(|name| env::var_os(name).is_some_and(|value| is_blank(&value))) {
            option.env(None::<&str>)
        } else {
            option
        }
    });
    command.mut_subcommands(forget_blank_variables)
}

/// Returns the value of an environment variable that is set and not blank.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !is_blank(value))
}

/// Reads a value without the blanks around it, for the items of lists.
pub fn trimmed<T: FromStr>(text: &str) -> Result<T, T::Err> {
    text.trim().parse()
}

fn is_blank(value: &OsStr) -> bool {
    value.to_string_lossy().trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_an_item_dont_count() {
        assert_eq!(trimmed::<u32>(" 7 "), Ok(7));
        assert_eq!(trimmed::<String>(" kv-manager:7400"), Ok("kv-manager:7400".to_owned()));
    }

    #[test]
    fn a_value_of_blanks_is_none() {
        for (value, blank) in [("", true), (" \t", true), ("0", false), (" a ", false)] {
            assert_eq!(is_blank(OsStr::new(value)), blank, "{value:?}");
        }
    }
}
