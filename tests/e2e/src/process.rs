//! Processes of pods, seen from outside of them. Works if the nodes run on this machine.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use skv_process::resident;

/// Kills every server in a pod at once, as a crash would. Panics if it has none here.
pub fn kill_processes_of(pod_uid: &str) {
    signal(&servers(pod_uid), Signal::KILL);
}

/// Servers that stand still. They continue when this is dropped.
pub struct Still(Vec<Pid>);

impl Still {
    /// Stops every server in a pod, as on a machine that is starved. Panics if it has none here.
    pub fn stop(pod_uid: &str) -> Still {
        let servers = servers(pod_uid);
        signal(&servers, Signal::STOP);
        Still(servers)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        signal(&self.0, Signal::CONT);
    }
}

fn servers(pod_uid: &str) -> Vec<Pid> {
    let servers: Vec<Pid> = processes(pod_uid, "kvserver").into_iter().filter_map(Pid::from_raw).collect();
    assert!(!servers.is_empty(), "no process of pod {pod_uid} is on this machine");
    servers
}

/// Returns the place on this machine of a file that the server of a pod has. Panics if it has none here.
pub fn file_of(pod_uid: &str, file: &str) -> PathBuf {
    let server = processes(pod_uid, "kvserver").into_iter().next();
    let server = server.unwrap_or_else(|| panic!("no process of pod {pod_uid} is on this machine"));
    PathBuf::from(format!("/proc/{server}/root{file}"))
}

/// Sends a signal; a server that has ended meanwhile needs none.
fn signal(servers: &[Pid], signal: Signal) {
    for pid in servers {
        let _ = kill_process(*pid, signal);
    }
}

/// Returns the bytes of memory that a program of a pod has; `None` if it isn't on this machine.
pub fn memory_of(pod_uid: &str, program: &str) -> Option<u64> {
    let pid = processes(pod_uid, program).into_iter().next()?;
    resident(pid.cast_unsigned())
}

fn processes(pod_uid: &str, program: &str) -> Vec<i32> {
    // Drivers of control groups write it in either way.
    let names = [format!("pod{pod_uid}"), format!("pod{}", pod_uid.replace('-', "_"))];
    let processes = fs::read_dir("/proc").expect("this machine has processes");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let of_pod = pids.filter(|pid| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        names.iter().any(|name| groups.contains(name)) && name.trim() == program
    });
    of_pod.collect()
}
