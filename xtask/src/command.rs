//! Running other programs: quietly, with an error that contains their output; or for long, with
//! their progress shown.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

/// Lines of a failed program's output that are shown.
const SHOWN_LINES: usize = 30;

/// Runs a program whose output matters only if it fails.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    output(command).map(drop)
}

/// Runs a program; returns its output.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().with_context(|| format!("can't run {}", line(command)))?;
    if !status.success() {
        bail!("{} failed ({status}): {}", line(command), String::from_utf8_lossy(&stderr).trim());
    }
    String::from_utf8(stdout).with_context(|| format!("{} printed something that isn't text", line(command)))
}

/// Runs a program beside others: its output is shown in one piece when it has ended, and not amid theirs.
pub(crate) fn run_beside_others(command: &mut Command) -> anyhow::Result<()> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().with_context(|| format!("can't run {}", line(command)))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    eprintln!("\n== {}\n{stdout}{stderr}", line(command));
    ensure!(status.success(), "{} failed ({status})", line(command));
    Ok(())
}

/// Returns true if a program can be run and succeeds.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

/// Runs a program that takes long. Its lines on standard error are shown as they come: one
/// line that changes on a terminal; elsewhere now and then a count, so that a log stays short.
pub(crate) fn run_slowly(what: &str, command: &mut Command) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {prefix} {elapsed} {wide_msg:.dim}") {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    let on_terminal = std::io::stderr().is_terminal();
    if !on_terminal {
        eprintln!("{what}");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't run {}", line(command)))?;
    let mut said = Vec::new();
    for read in child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        let read = read.with_context(|| format!("can't read what {} says", line(command)))?;
        bar.set_message(read.clone());
        said.push(read);
        if !on_terminal && said.len() % 250 == 0 {
            eprintln!("{what}: {} steps done", said.len());
        }
    }
    let status = child.wait()?;
    bar.finish_and_clear();
    if !status.success() {
        let last = said.split_off(said.len().saturating_sub(SHOWN_LINES)).join("\n");
        bail!("{} failed ({status}):\n{last}", line(command));
    }
    Ok(())
}

/// Returns a command as a person would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_beside_others_is_an_error() {
        run_beside_others(&mut Command::new("true")).unwrap();
        let error = run_beside_others(&mut Command::new("false")).unwrap_err().to_string();
        assert!(error.starts_with("false failed"), "{error}");
    }
}
