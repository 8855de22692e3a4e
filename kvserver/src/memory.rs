//! The memory of this process: its limit, what shrinks with it, and samples of its use. The system's files
//! are read here; the rules are `skv-memory`'s.

use std::fs;
use std::path::Path;
use std::time::Duration;

use skv_disk::MemoryDisk;
use skv_listen::MOST_WAITING;
use skv_memory::{Budget, limit_files, limit_in, physical, resident};
use skv_net::STREAM_WINDOW;
use skv_replica::Tuning;

/// The interval of samples. Reading one takes some 20 us.
const INTERVAL: Duration = Duration::from_millis(100);

/// The smallest segment of a log: it holds a batch of the largest values.
const LEAST_SEGMENT: u64 = 4 << 20;

/// The window with which every stream of HTTP/2 begins.
const LEAST_WINDOW: usize = 64 << 10;

/// Has the kernel give this process small pages only. Of a huge page, 2 MiB, all is resident once a byte of
/// it is used: a server with little data would take 20 to 30 MB more, and what is deleted would leave
/// nothing to give back.
pub(crate) fn avoid_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay as the system has them");
    }
}

/// Returns the limit of this process: the one that is asked for, but no more than its cgroups allow, or
/// what the machine has. `None`: the system doesn't say, and nothing is asked for.
pub(crate) fn limit(wanted: Option<u64>) -> Option<u64> {
    let files = limit_files(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo"));
    let limits = files.iter().filter_map(|file| limit_in(&text(file)));
    let system = limits.chain(physical(&text("/proc/meminfo"))).min();
    if let (Some(wanted), Some(system)) = (wanted, system)
        && wanted > system
    {
        tracing::warn!(wanted, system, "--memory is more than the system lets this process have");
    }
    wanted.into_iter().chain(system).min()
}

/// Returns the settings of a server that keeps the files of so many replicas in memory; `None`: they are on a
/// disk. Logs in memory count in full, and leave the larger part for data: a log has two segments, and is kept
/// back to the snapshot before the last.
pub(crate) fn bound_log(tuning: Tuning, budget: &Budget, in_memory: Option<usize>) -> Tuning {
    let Some(replicas) = in_memory else { return tuning };
    budget.share_buffers(replicas);
    let most = budget.buffer(usize::MAX) as u64 / 2;
    let segment = u64::from(tuning.log_segment_bytes).min(most.max(LEAST_SEGMENT));
    Tuning {
        snapshot_log_bytes: tuning.snapshot_log_bytes.min(most),
        log_segment_bytes: segment as u32,
        ..tuning
    }
}

/// Returns the bytes that a user may send on a stream before the server has read them. A message
/// that waits for its place may fill that window: all that may wait take no more together than a buffer of the
/// server. The window of a whole connection stays large, so that those that wait don't hold up the others.
pub(crate) fn stream_window(budget: &Budget) -> u32 {
    let usual = STREAM_WINDOW as usize;
    let window = (budget.server_buffer(MOST_WAITING * usual) / MOST_WAITING).max(LEAST_WINDOW);
    window as u32
}

/// Takes samples of the memory in use, for ever. A server that keeps its files in memory has them on
/// `disk`.
pub(crate) async fn watch(budget: Budget, disk: Option<MemoryDisk>) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut had_room = true;
    loop {
        tick.tick().await;
        // The next snapshot is written beside the last one, and takes about as much as the state.
        let files = disk.as_ref().map_or(0, |disk| disk.used() + budget.tally().bytes());
        budget.sample(resident(&text("/proc/self/status")), files);
        let has_room = budget.has_room();
        if has_room != had_room {
            let (used, edge, limit) = (budget.used(), budget.edge(), budget.limit());
            if has_room {
                tracing::info!(used, edge, limit, "there is room in memory again");
            } else {
                tracing::warn!(used, edge, limit, "no room in memory: what makes the data grow is refused");
            }
            had_room = has_room;
        }
    }
}

/// Returns the content of a file, empty if it can't be read: not every system has it.
fn text(file: impl AsRef<Path>) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_in_memory_leave_the_larger_part_for_data() {
        let bounds = |mib: u64, replicas| {
            let budget = Budget::new(Some(mib << 20));
            let bounded = bound_log(Tuning::DEFAULT, &budget, replicas);
            let Tuning { snapshot_log_bytes, log_segment_bytes, .. } = bounded;
            (snapshot_log_bytes >> 10, log_segment_bytes >> 20)
        };
        assert_eq!(bounds(128, Some(1)), (4 << 10, 4));
        assert_eq!(bounds(512, Some(2)), (8 << 10, 8));
        assert_eq!(bounds(512, Some(32)), (512, 4));
        assert_eq!(bounds(4096, Some(1)), (64 << 10, 16));
        assert_eq!(bounds(128, None), (64 << 10, 16), "they are on a disk");
    }

    #[test]
    fn windows_shrink_with_the_memory_but_not_below_those_of_http() {
        let kib = |limit| stream_window(&Budget::new(limit)) >> 10;
        assert_eq!([Some(64 << 20), Some(128 << 20)].map(kib), [64, 64]);
        assert_eq!([Some(1 << 30), Some(4 << 30)].map(kib), [512, 2 << 10]);
        assert_eq!([Some(16 << 30), None].map(kib), [8 << 10, 8 << 10]);
    }
}
