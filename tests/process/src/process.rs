//! A process, and its faults.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Cgroup, eventually};

/// The unit of times that Linux reports about processes, on all that Rust runs on (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// A process that can be started again under the same arguments. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(&'static str, PathBuf)>,
    log: PathBuf,
    /// The limit of open files, if there is one.
    files: Option<u32>,
    /// The file to which it writes its id before it does anything else, if there is one.
    processes: Option<PathBuf>,
    child: Option<Child>,
}

impl Process {
    /// Makes a process that isn't started yet; its output is added to `log`.
    pub fn new(program: &Path, arguments: Vec<String>, log: PathBuf) -> Process {
        Process {
            program: program.to_owned(),
            arguments,
            variables: Vec::new(),
            log,
            files: None,
            processes: None,
            child: None,
        }
    }

    /// Starts it.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.program.display());
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("a log can be written");
        let files = self.files.map(|files| format!("ulimit -n {files}; "));
        let cgroup = self.processes.as_ref().map(|file| format!("echo $$ > {}; ", file.display()));
        let mut command = match files.into_iter().chain(cgroup).collect::<String>() {
            first if first.is_empty() => Command::new(&self.program),
            first => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("{first}exec \"$0\" \"$@\"")).arg(&self.program);
                shell
            }
        };
        let child = command
            .args(&self.arguments)
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log can be shared"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} can't be started: {error}", self.program.display()));
        self.child = Some(child);
    }

    /// Changes its arguments from its next start on.
    pub fn set_arguments(&mut self, change: impl FnOnce(&mut Vec<String>)) {
        change(&mut self.arguments);
    }

    /// Adds a variable to its environment, from its next start on.
    pub fn set_variable(&mut self, name: &'static str, value: &Path) {
        self.variables.push((name, value.to_owned()));
    }

    /// Limits its open files, from its next start on.
    pub fn limit_files(&mut self, files: u32) {
        self.files = Some(files);
    }

    /// Puts it into a cgroup, from its next start on.
    pub fn join(&mut self, cgroup: &Cgroup) {
        self.processes = Some(cgroup.processes());
    }

    /// Kills it by kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
        }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait().await
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the process runs");
        let what = format!("the end of {}", self.program.display());
        let status = eventually(&what, || {
            let status = child.try_wait().expect("a child can be waited for");
            async move { status }
        });
        status.await
    }

    /// Pauses it: it keeps its connections, but does nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues it after a pause.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("the process runs").id()
    }

    /// Returns the processor time that it has used, in user and kernel mode, since its start.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("the process runs");
        // The second field, the program's name in parentheses, may contain anything.
        let (_, fields) = stat.rsplit_once(')').expect("it has a name");
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.map(|ticks| ticks.expect("a number")).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    /// Returns the bytes of memory that it has, with the pages of its program.
    pub fn resident(&self) -> u64 {
        resident(self.id()).expect("the process runs")
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.id()).expect("a pid fits")).expect("a pid isn't 0");
        kill_process(pid, signal).expect("a child can be signalled");
    }

    /// Returns true if it has been started and hasn't ended.
    pub fn is_running(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| child.try_wait().expect("a child can be waited for").is_none())
    }

    /// Returns true if it has ended by itself, and that hasn't been noted yet.
    pub fn has_ended(&mut self) -> bool {
        self.child.is_some() && !self.is_running()
    }

    /// Returns its output since its first start.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

/// Returns the bytes of memory that a process has, with the pages of its program; `None` if it has ended.
pub fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the end of {}", self.log.display());
            for line in &lines[lines.len().saturating_sub(20)..] {
                eprintln!("{line}");
            }
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
