//! `skv logs`: the ends of logs, and what is written to them meanwhile, as `tail` shows them. Processes come and
//! go with their groups, so the logs are listed again at each look.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueHint;
use futures::TryFutureExt as _;
use skv_local::data_dir::log_files;
use skv_sharding::GroupId;
use tokio::time::sleep;

use crate::completions;
use crate::kubernetes::Store;
use crate::outcome::Outcome;
use crate::output;
use crate::target::Target;
use crate::watching::until_ctrl_c;

const POLL: Duration = Duration::from_millis(200);
/// The word that means the shard manager where a group can be named.
const MANAGER: &str = "manager";
/// The bytes of a log's end in which its last lines are looked for.
const TAIL_BYTES: u64 = 1 << 20;

/// Show what the processes of a store wrote to their logs.
///
/// A log of this machine that is full is put aside beside it as NAME.log.old.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skv logs                         the last lines of each log
  skv logs supervisor              what happened to the processes
  skv logs quickstart-g0-0 -f      and what comes, until Ctrl-C
  skv logs g0                      of all servers of a group
  skv logs --lines 1000 manager
")]
pub(crate) struct Args {
    /// The process, such as quickstart-g0-0, a group such as g0, manager, or supervisor [default: all].
    #[arg(add = completions::processes())]
    process: Option<String>,
    /// Show what is written from now on too.
    #[arg(long, short)]
    follow: bool,
    /// The number of lines of each log.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10, value_hint = ValueHint::Other)]
    lines: usize,
}

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    if let Some(store) = target.in_cluster() {
        return in_cluster(store, args).await;
    }
    let mut logs =
        Logs { data_dir: target.local()?.data_dir, process: args.process.clone(), list: Vec::new() };
    let names = logs.look()?;
    if let Some(process) = &args.process {
        anyhow::ensure!(
            !logs.list.is_empty(),
            "there is no log of {process}: there are {}",
            names.join(", ")
        );
    }
    let mut shown = None;
    for (name, text) in logs.last_lines(args.lines)? {
        print(&mut shown, logs.list.len() == 1, name, &text)?;
    }
    if !args.follow {
        return Ok(Outcome::Done);
    }
    until_ctrl_c(follow(&mut logs, &mut shown)).await
}

async fn in_cluster(store: &Store, args: &Args) -> anyhow::Result<Outcome> {
    let mut shown = None;
    let print = |is_one, name, text: &[u8]| print(&mut shown, is_one, name, text);
    let shown = store.show_logs(args.process.as_deref(), args.lines, args.follow, print);
    until_ctrl_c(shown.map_ok(|()| Outcome::Done)).await
}

async fn follow(logs: &mut Logs, shown: &mut Option<String>) -> anyhow::Result<Outcome> {
    loop {
        for (name, text) in logs.news()? {
            print(shown, logs.list.len() == 1, name, &text)?;
        }
        sleep(POLL).await;
    }
}

/// Prints lines of a log. Its name stands above them if there are several logs, and `shown` is another one.
fn print(shown: &mut Option<String>, is_one: bool, name: String, text: &[u8]) -> anyhow::Result<()> {
    let is_new = !is_one && shown.as_ref() != Some(&name);
    let mut page = Vec::new();
    if is_new {
        let gap = if shown.is_some() { "\n" } else { "" };
        page.extend_from_slice(format!("{gap}==> {name} <==\n").as_bytes());
    }
    page.extend_from_slice(text);
    *shown = Some(name);
    output::print_bytes(&page)
}

/// The logs that are shown: those of one process, or all.
struct Logs {
    data_dir: PathBuf,
    process: Option<String>,
    list: Vec<Log>,
}

impl Logs {
    /// Adds those that have come. Returns the names of all that there are.
    fn look(&mut self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for path in log_files(&self.data_dir)? {
            let log = Log::new(path);
            names.push(log.name.clone());
            let is_wanted = self.process.as_ref().is_none_or(|process| is_of(&log.name, process));
            if is_wanted && !self.list.iter().any(|known| known.name == log.name) {
                self.list.push(log);
            }
        }
        Ok(names)
    }

    fn last_lines(&mut self, count: usize) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        self.read(|log| log.last_lines(count))
    }

    /// Returns what was written since the last look, with the name of each log; of a new one all of it.
    fn news(&mut self) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        self.look()?;
        let mut news = self.read(Log::news)?;
        news.retain(|(_, text)| !text.is_empty());
        Ok(news)
    }

    /// Reads each log. One that is gone is forgotten: its process left the store, and may come again.
    fn read(
        &mut self,
        read: impl Fn(&mut Log) -> io::Result<Vec<u8>>,
    ) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let mut texts = Vec::new();
        let mut gone = Vec::new();
        for log in &mut self.list {
            match read(log) {
                Ok(text) => texts.push((log.name.clone(), text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => gone.push(log.name.clone()),
                Err(error) => {
                    return Err(error).with_context(|| format!("can't read {}", log.path.display()));
                }
            }
        }
        self.list.retain(|log| !gone.contains(&log.name));
        Ok(texts)
    }
}

/// Returns true for the log of this process, of a server of this group, or of the shard manager.
fn is_of(log: &str, process: &str) -> bool {
    let set = match process {
        MANAGER => Some(log),
        group if group.parse::<GroupId>().is_ok() => log.rsplit_once('-').map(|(set, _)| set),
        _ => None,
    };
    let store = set.and_then(|set| set.strip_suffix(process));
    log == process || store.is_some_and(|store| store.ends_with('-'))
}

/// A log that is shown.
struct Log {
    name: String,
    path: PathBuf,
    position: u64,
}

impl Log {
    fn new(path: PathBuf) -> Log {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Log { name, path, position: 0 }
    }

    fn last_lines(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.position = self.length()?.saturating_sub(TAIL_BYTES);
        let text = self.news()?;
        Ok(last_lines(&text, count).to_vec())
    }

    /// Returns what was written since the last look. A log that is shorter was emptied.
    fn news(&mut self) -> io::Result<Vec<u8>> {
        if self.length()? < self.position {
            self.position = 0;
        }
        let mut text = Vec::new();
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.position))?;
        file.read_to_end(&mut text)?;
        self.position = file.stream_position()?;
        Ok(text)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(std::fs::metadata(&self.path)?.len())
    }
}

fn last_lines(text: &[u8], count: usize) -> &[u8] {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
    match count.checked_sub(1) {
        None => &[],
        Some(skipped) => &text[ends.clone().nth(skipped).unwrap_or_default()..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_the_logs_of_its_servers() {
        assert!(is_of("my-kv-g1-0", "g1") && is_of("my-kv-g1-0", "my-kv-g1-0"));
        assert!(is_of("my-kv-manager", "manager") && is_of("supervisor", "supervisor"));
        // The second is a server of a ring: its name has no group in it, but the name of a store may end like one.
        let others = [("my-kv-g11-0", "g1"), ("bag1-0", "g1"), ("my-kv-g1-0", "0"), ("my-kv-manager", "kv")];
        for (log, process) in others {
            assert!(!is_of(log, process), "{log} {process}");
        }
    }

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

    #[test]
    fn logs_that_come_are_shown_and_those_that_go_are_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join("logs").join(format!("{name}.log"));
        std::fs::create_dir(directory.path().join("logs")).unwrap();
        std::fs::write(file("a"), "one\ntwo\n").unwrap();
        let mut logs = Logs { data_dir: directory.path().to_owned(), process: None, list: Vec::new() };
        let news = |name: &str, text: &str| vec![(name.to_owned(), text.as_bytes().to_vec())];
        assert_eq!(logs.look().unwrap(), ["a"]);
        assert_eq!(logs.last_lines(1).unwrap(), news("a", "two\n"));
        assert_eq!(logs.news().unwrap(), []);
        std::fs::write(file("b"), "three\n").unwrap();
        assert_eq!(logs.news().unwrap(), news("b", "three\n"));
        std::fs::remove_file(file("a")).unwrap();
        assert_eq!(logs.news().unwrap(), []);
        std::fs::write(file("a"), "four\n").unwrap();
        assert_eq!(logs.news().unwrap(), news("a", "four\n"));
    }
}
