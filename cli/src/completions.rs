//! `skv completions`.

use clap_complete::Shell;

use crate::outcome::Outcome;

/// Print the completions of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(skv completions bash)
  skv completions zsh > ~/.zfunc/_skv
  skv completions fish > ~/.config/fish/completions/skv.fish
")]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

pub(crate) fn run(args: &Args, command: &mut clap::Command) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "skv", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(Outcome::Done)
}
