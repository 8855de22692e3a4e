//! `skv logs`: the ends of logs, and what is written to them meanwhile, as `tail` shows them.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueHint;
use skv_local::data_dir::log_files;
use tokio::time::sleep;

use crate::completions;
use crate::outcome::Outcome;
use crate::target::Target;

const POLL: Duration = Duration::from_millis(200);
/// The bytes of a log's end in which its last lines are looked for.
const TAIL_BYTES: u64 = 1 << 20;

/// Show what the processes of a store of this machine wrote to their logs.
///
/// A log that is full is put aside beside it as NAME.log.old.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skv logs                         the last lines of each log
  skv logs supervisor              what happened to the processes
  skv logs quickstart-g0-0 -f      and what comes, until Ctrl-C
  skv logs -n 1000 quickstart-manager
")]
pub(crate) struct Args {
    /// The process, such as quickstart-g0-0, or supervisor [default: all].
    #[arg(add = completions::processes())]
    process: Option<String>,
    /// Show what is written from now on too.
    #[arg(long, short)]
    follow: bool,
    /// The number of lines of each log.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10, value_hint = ValueHint::Other)]
    lines: usize,
}

/// A log that is shown.
struct Log {
    name: String,
    path: PathBuf,
    position: u64,
}

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    let data_dir = target.local()?.data_dir;
    let mut logs: Vec<Log> = log_files(&data_dir)?.into_iter().map(Log::new).collect();
    if let Some(process) = &args.process {
        let names: Vec<String> = logs.iter().map(|log| log.name.clone()).collect();
        logs.retain(|log| log.name == *process);
        anyhow::ensure!(!logs.is_empty(), "there is no log of {process}: there are {}", names.join(", "));
    }
    let mut shown = Shown { is_one: logs.len() == 1, last: None };
    for log in &mut logs {
        let text = log.last_lines(args.lines)?;
        shown.print(&log.name, &text)?;
    }
    if !args.follow {
        return Ok(Outcome::Done);
    }
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped?,
        failed = follow(&mut logs, &mut shown) => return failed,
    }
    Ok(Outcome::Done)
}

async fn follow(logs: &mut [Log], shown: &mut Shown) -> anyhow::Result<Outcome> {
    loop {
        for log in &mut *logs {
            let text = log.news()?;
            if !text.is_empty() {
                shown.print(&log.name, &text)?;
            }
        }
        sleep(POLL).await;
    }
}

impl Log {
    fn new(path: PathBuf) -> Log {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Log { name, path, position: 0 }
    }

    fn last_lines(&mut self, count: usize) -> anyhow::Result<Vec<u8>> {
        let length = self.length()?;
        self.position = length.saturating_sub(TAIL_BYTES);
        let text = self.news()?;
        Ok(last_lines(&text, count).to_vec())
    }

    /// Returns what was written since the last look. A log that is shorter was emptied.
    fn news(&mut self) -> anyhow::Result<Vec<u8>> {
        if self.length()? < self.position {
            self.position = 0;
        }
        let mut text = Vec::new();
        let mut read = || -> io::Result<u64> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.position))?;
            file.read_to_end(&mut text)?;
            file.stream_position()
        };
        self.position = read().with_context(|| failed(&self.path))?;
        Ok(text)
    }

    fn length(&self) -> anyhow::Result<u64> {
        Ok(std::fs::metadata(&self.path).with_context(|| failed(&self.path))?.len())
    }
}

fn failed(path: &Path) -> String {
    format!("can't read {}", path.display())
}

fn last_lines(text: &[u8], count: usize) -> &[u8] {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
    match count.checked_sub(1) {
        None => &[],
        Some(skipped) => &text[ends.clone().nth(skipped).unwrap_or_default()..],
    }
}

/// The last line's log: the name of a log stands above its lines, if there are several.
struct Shown {
    is_one: bool,
    last: Option<String>,
}

impl Shown {
    fn print(&mut self, name: &str, text: &[u8]) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if !self.is_one && self.last.as_deref() != Some(name) {
            let gap = if self.last.is_some() { "\n" } else { "" };
            writeln!(out, "{gap}==> {name} <==")?;
            self.last = Some(name.to_owned());
        }
        out.write_all(text)?;
        Ok(out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found() {
        let text = b"one\ntwo\nthree\n";
        assert_eq!(last_lines(text, 0), b"");
        assert_eq!(last_lines(text, 1), b"three\n");
        assert_eq!(last_lines(text, 2), b"two\nthree\n");
        assert_eq!(last_lines(text, 3), text);
        assert_eq!(last_lines(text, 9), text);
        assert_eq!(last_lines(b"one\nunfinished", 1), b"unfinished");
        assert_eq!(last_lines(b"", 5), b"");
    }

    #[test]
    fn a_log_that_was_emptied_is_read_from_its_beginning() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut log = Log::new(file.path().to_owned());
        std::fs::write(file.path(), "one\ntwo\n").unwrap();
        assert_eq!(log.last_lines(1).unwrap(), b"two\n");
        assert_eq!(log.news().unwrap(), b"");
        std::fs::write(file.path(), "new\n").unwrap();
        assert_eq!(log.news().unwrap(), b"new\n");
    }
}
