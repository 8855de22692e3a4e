//! Processes by number and start time, so that a number that was given to another process is never
//! mistaken for ours.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

const POLL: Duration = Duration::from_millis(50);

/// A run of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number of the process.
    pub pid: u32,
    /// The start in clock ticks since the machine booted, as in /proc.
    started: u64,
}

impl ProcessId {
    /// Returns the process that has this number now; `None` if there is none.
    pub fn of(pid: u32) -> Option<ProcessId> {
        let started = start_time(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        Some(ProcessId { pid, started })
    }

    /// Returns true while the process runs.
    pub fn is_alive(&self) -> bool {
        ProcessId::of(self.pid).as_ref() == Some(self)
    }

    /// Waits for the end of the process; returns false if it doesn't come in time.
    pub async fn ends_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(POLL).await;
        }
        true
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_alive()) {
            // It may end between the question and the signal: then there is nothing to do.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Returns the start time in a line of /proc/PID/stat; `None` for a process that has ended and whose
/// parent hasn't waited for it yet.
fn start_time(stat: &str) -> Option<u64> {
    // The second field is the program's name in brackets, and may contain any character.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_an_earlier_one_of_the_same_number_is_not() {
        let this = ProcessId::of(std::process::id()).unwrap();
        assert!(this.is_alive());
        assert!(!ProcessId { started: this.started - 1, ..this }.is_alive());
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 8 9";
        assert_eq!(start_time(stat), Some(777));
        assert_eq!(start_time(&stat.replace(" S ", " Z ")), None);
    }

    #[test]
    fn a_process_that_has_ended_is_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(ProcessId::of(pid), None);
    }
}
