//! Control groups of a node: one folder in every hierarchy that the machine has, of version
//! 1 and 2.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

const ROOT: &str = "/sys/fs/cgroup";

/// Makes the group of a kubelet.
pub(super) fn make(name: &str) -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        fs::create_dir_all(&group).with_context(|| format!("can't make {}", group.display()))?;
        // A new group may use no processor and no memory until these are set.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read_to_string(hierarchy.join(file)) {
                fs::write(group.join(file), all)
                    .with_context(|| format!("can't set up {}", group.display()))?;
            }
        }
    }
    Ok(())
}

/// Removes the group and all groups in it. No process may be left in them.
pub(super) fn remove(name: &str) -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        if group.exists() {
            remove_tree(&group).with_context(|| format!("can't remove {}", group.display()))?;
        }
    }
    Ok(())
}

fn hierarchies() -> anyhow::Result<Vec<PathBuf>> {
    let holds_processes = |folder: &PathBuf| folder.join("cgroup.procs").exists();
    let root = PathBuf::from(ROOT);
    if holds_processes(&root) {
        return Ok(vec![root]);
    }
    let folders = fs::read_dir(&root).context("can't read the control groups")?;
    // Some hierarchies have a second name, which is a link.
    let folders = folders.filter_map(|entry| entry.ok().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())));
    Ok(folders.map(|entry| entry.path()).filter(holds_processes).collect())
}

/// The files in a group are the kernel's; only folders are removed.
fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
