//! The files in which a Linux system tells a process its limits and its size.

use std::path::{Path, PathBuf};

/// A limit from here on is none: version 1 of cgroups writes "no limit" as a number.
const NO_LIMIT: u64 = 1 << 60;

/// Returns the files that may hold a limit for the process: of its own cgroup and of all around it.
/// Files that don't exist say nothing. `cgroup` is the content of `/proc/self/cgroup`, `mounts` that of
/// `/proc/self/mountinfo`.
pub fn limit_files(cgroup: &str, mounts: &str) -> Vec<PathBuf> {
    mounts.lines().filter_map(Mount::read).flat_map(|mount| mount.limit_files(cgroup)).collect()
}

/// A mounted hierarchy that may limit memory.
struct Mount<'a> {
    /// The cgroup that is seen at the mount point.
    root: &'a str,
    point: PathBuf,
    is_version_2: bool,
}

impl<'a> Mount<'a> {
    /// Reads a line of mountinfo: `ID PARENT DEVICE ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS`.
    fn read(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let (kind, options) = (system.next()?, system.nth(1).unwrap_or_default());
        let is_version_2 = match kind {
            "cgroup2" => true,
            "cgroup" if options.split(',').any(|option| option == "memory") => false,
            _ => return None,
        };
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        Some(Mount { root, point: PathBuf::from(point.replace("\\040", " ")), is_version_2 })
    }

    fn limit_files(self, cgroup: &str) -> Vec<PathBuf> {
        let file = if self.is_version_2 { "memory.max" } else { "memory.limit_in_bytes" };
        let own = cgroup.lines().find_map(|line| self.path_in(line)).unwrap_or_default();
        // A process that sees less than the whole hierarchy finds its cgroup at the mount point.
        let own = own.strip_prefix(self.root).unwrap_or_default().trim_start_matches('/');
        Path::new(own).ancestors().map(|dir| self.point.join(dir).join(file)).collect()
    }

    /// Returns the path of the process in this hierarchy, from a line `NUMBER:CONTROLLERS:PATH`.
    fn path_in<'c>(&self, line: &'c str) -> Option<&'c str> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let is_it = if self.is_version_2 {
            controllers.is_empty()
        } else {
            controllers.split(',').any(|controller| controller == "memory")
        };
        is_it.then_some(path)
    }
}

/// Returns the limit that such a file holds, in bytes.
pub fn limit_in(content: &str) -> Option<u64> {
    content.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

/// Returns the memory of the machine, from the content of `/proc/meminfo`.
pub fn physical(meminfo: &str) -> Option<u64> {
    kibibytes(meminfo, "MemTotal:")
}

/// Returns the memory that the process has in pages of its own, from the content of
/// `/proc/self/status`. Pages of files aren't part of it: the system takes them back when it needs them.
pub fn resident(status: &str) -> Option<u64> {
    kibibytes(status, "RssAnon:")
}

fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS_V2: &str = "\
25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw
34 25 0:29 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
36 30 253:0 / / rw - ext4 /dev/vda rw";
    const MOUNTS_V1: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    fn files(cgroup: &str, mounts: &str) -> Vec<String> {
        limit_files(cgroup, mounts).into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn version_2_has_limits_in_the_cgroup_and_all_around_it() {
        let nested = files("0::/kubepods.slice/pod1/c2\n", MOUNTS_V2);
        let expected = ["/kubepods.slice/pod1/c2", "/kubepods.slice/pod1", "/kubepods.slice", ""];
        assert_eq!(nested, expected.map(|path| format!("/sys/fs/cgroup{path}/memory.max")));
        assert_eq!(files("0::/\n", MOUNTS_V2), ["/sys/fs/cgroup/memory.max"]);
    }

    #[test]
    fn version_1_has_them_in_the_hierarchy_of_memory() {
        let both = files("4:memory:/docker/ab\n1:cpu:/x\n0::/y\n", MOUNTS_V1);
        let expected = [
            "memory/docker/ab/memory.limit_in_bytes",
            "memory/docker/memory.limit_in_bytes",
            "memory/memory.limit_in_bytes",
            "unified/y/memory.max",
            "unified/memory.max",
        ];
        assert_eq!(both, expected.map(|path| format!("/sys/fs/cgroup/{path}")));
        let joint = MOUNTS_V1.replace("rw,memory", "rw,cpuset,memory");
        assert_eq!(files("4:cpuset,memory:/a\n", &joint)[0], "/sys/fs/cgroup/memory/a/memory.limit_in_bytes");
    }

    #[test]
    fn in_a_container_the_mount_point_may_be_the_cgroup_itself() {
        let mounts = "35 31 0:32 /docker/ab /cg rw - cgroup cgroup rw,memory";
        assert_eq!(files("4:memory:/docker/ab\n", mounts), ["/cg/memory.limit_in_bytes"]);
        let inner = files("4:memory:/docker/ab/in\n", mounts);
        assert_eq!(inner, ["/cg/in/memory.limit_in_bytes", "/cg/memory.limit_in_bytes"]);
        // The namespace of the process begins elsewhere.
        assert_eq!(files("4:memory:/../other\n", mounts), ["/cg/memory.limit_in_bytes"]);
    }

    #[test]
    fn without_cgroups_there_is_no_file() {
        assert!(files("", "36 30 253:0 / / rw - ext4 /dev/vda rw").is_empty());
        assert!(files("0::/a", "nonsense - cgroup2").is_empty());
        assert!(files("0::/a", "").is_empty());
    }

    #[test]
    fn limits_are_numbers_that_some_machine_could_have() {
        for (content, limit) in [
            ("209715200\n", Some(209_715_200)),
            ("max\n", None),
            ("9223372036854771712\n", None),
            ("", None),
            ("-1", None),
        ] {
            assert_eq!(limit_in(content), limit, "{content:?}");
        }
    }

    #[test]
    fn sizes_are_found_by_their_names() {
        let meminfo = "MemTotal:       24564096 kB\nMemFree:         1 kB\n";
        assert_eq!(physical(meminfo), Some(24_564_096 * 1024));
        let status =
            "Name:\tRssAnon: 7 kB\nVmRSS:\t   76400 kB\nRssAnon:\t   63156 kB\nRssFile:\t 13244 kB\n";
        assert_eq!(resident(status), Some(63_156 * 1024));
        for broken in ["", "RssAnon:\n", "RssAnon:\t kB", "RssAnon:\t5 pages"] {
            assert_eq!(resident(broken), None, "{broken:?}");
        }
    }
}
