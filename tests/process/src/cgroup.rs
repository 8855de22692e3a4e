//! Cgroups of a test's own, in which the kernel ends a process that takes too much memory.

use std::fs;
use std::path::PathBuf;

/// A cgroup that limits memory. It is removed when it is dropped; its processes must have ended.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one below the test's own cgroup; `None` if this system doesn't let it.
    pub fn new(name: &str, bytes: u64) -> Option<Cgroup> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let name = format!("skv-{}-{name}", std::process::id());
        let version_1 = own.lines().find_map(|line| line.split_once(":memory:"));
        let (dir, file) = if let Some((_, path)) = version_1 {
            (format!("/sys/fs/cgroup/memory{path}/{name}"), "memory.limit_in_bytes")
        } else {
            let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
            (format!("/sys/fs/cgroup{path}/{name}"), "memory.max")
        };
        fs::create_dir(&dir).ok()?;
        let cgroup = Cgroup(PathBuf::from(dir));
        cgroup.set(file, bytes)?;
        // Where there is swap, it would hide what is too much.
        let _ = cgroup.set("memory.swap.max", 0);
        Some(cgroup)
    }

    /// Returns the file to which a process writes its id to be in the cgroup.
    pub fn processes(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    fn set(&self, file: &str, value: u64) -> Option<()> {
        let path = self.0.join(file);
        // Opened for writing a file would be made where a hierarchy has none.
        path.exists().then(|| fs::write(&path, value.to_string()).ok())?
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
