//! Network namespaces, and the processes in them. A process is identified by the namespace that it
//! is in, so that a reused process number is never mistaken for ours.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::command::run;

/// The folder in which `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";

/// A network namespace, there or not.
#[derive(Debug, Clone)]
pub(super) struct Namespace {
    name: String,
    /// The folder of logs and process numbers.
    processes: PathBuf,
}

impl Namespace {
    pub(super) fn new(name: &str, processes: &Path) -> Namespace {
        Namespace { name: name.to_owned(), processes: processes.to_owned() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn add(&self) -> anyhow::Result<()> {
        run(Command::new("ip").args(["netns", "add", &self.name]))?;
        self.run("ip link set lo up")
    }

    /// Returns a command that runs in the namespace. (`ip netns exec` would hide the control groups.)
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={NAMESPACES}/{}", self.name)).arg("--").arg(program);
        command
    }

    /// Runs a command whose words have no blanks.
    pub(super) fn run(&self, line: &str) -> anyhow::Result<()> {
        let mut words = line.split(' ');
        let program = words.next().unwrap_or_default();
        run(self.command(program).args(words))
    }

    /// Starts a program that continues when this one has ended. Its output goes to NAME.log.
    pub(super) fn start<A: AsRef<OsStr>>(
        &self,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<()> {
        let log = self.processes.join(format!("{name}.log"));
        let start = || -> std::io::Result<()> {
            let file = File::create(&log)?;
            // setsid and nsenter turn into the program: its number is the child's.
            let inner = self.command(program);
            let child = Command::new("setsid")
                .arg(inner.get_program())
                .args(inner.get_args())
                .args(arguments)
                .env_remove("KUBECONFIG")
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file)
                .spawn()?;
            fs::write(self.pid_file(name), child.id().to_string())
        };
        start().with_context(|| format!("can't start {}", program.display()))
    }

    /// Returns true if the program that was started under this name runs.
    pub(super) fn is_running(&self, name: &str) -> bool {
        self.process(name).is_some()
    }

    /// Asks the program that was started under this name to end.
    pub(super) fn stop(&self, name: &str) {
        if let Some(process) = self.process(name) {
            signal(process, Signal::TERM);
        }
    }

    /// Ends all processes in the namespace at once, and removes it.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        if !Path::new(NAMESPACES).join(&self.name).exists() {
            return Ok(());
        }
        self.processes()?.into_iter().for_each(|process| signal(process, Signal::KILL));
        run(Command::new("ip").args(["netns", "delete", &self.name]))
    }

    fn process(&self, name: &str) -> Option<u32> {
        let pid = fs::read_to_string(self.pid_file(name)).ok()?.parse().ok()?;
        self.contains(pid).then_some(pid)
    }

    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let entries = fs::read_dir("/proc").context("can't read /proc")?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(pids.filter(|pid| self.contains(*pid)).collect())
    }

    fn contains(&self, pid: u32) -> bool {
        let identity = |file: PathBuf| fs::metadata(file).ok().map(|file| (file.dev(), file.ino()));
        let own = identity(Path::new(NAMESPACES).join(&self.name));
        own.is_some() && own == identity(PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.processes.join(format!("{name}.pid"))
    }
}

fn signal(process: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // The process may end between the check and the signal: then there is nothing to do.
        let _ = kill_process(pid, signal);
    }
}
