//! Programs that continue after the run that started them was killed.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// All programs of the product.
const PROGRAMS: &str = include_str!("../../../deploy/image/programs");
/// The programs of the labs, and of the tests.
const OTHERS: [&str; 6] = ["master-svr", "svr", "clt", "skv-fuzz", "skv-sim", "skv-soak"];

/// Ends the programs of ours whose temporary directory is this one, or lies in it.
pub(crate) fn end_processes(directory: &Path) {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        if is_ours(&process.path()) && works_in(&process.path(), directory) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn is_ours(process: &Path) -> bool {
    let Ok(program) = fs::read_link(process.join("exe")) else { return false };
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Linux names a program whose file was replaced like this.
    let name = name.trim_end_matches(" (deleted)");
    PROGRAMS.lines().chain(OTHERS).any(|program| program == name)
}

fn works_in(process: &Path, directory: &Path) -> bool {
    let variables = fs::read(process.join("environ")).unwrap_or_default();
    let directories = variables.split(|byte| *byte == 0).filter_map(|line| line.strip_prefix(b"TMPDIR="));
    directories
        .filter_map(|path| std::str::from_utf8(path).ok())
        .any(|path| Path::new(path).starts_with(directory))
}
