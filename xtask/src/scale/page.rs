//! Figures in pages of text: the metrics of a program, and the kernel's record of its memory. Pure.

use serde::Serialize;

/// The resident memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    pub(super) now_kib: u64,
    pub(super) peak_kib: u64,
}

impl Memory {
    /// Reads it from a file such as `/proc/self/status`.
    pub(super) fn of(status: &str) -> Option<Memory> {
        let kib = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().strip_suffix("kB")?.trim().parse().ok()
        };
        Some(Memory { now_kib: kib("VmRSS:")?, peak_kib: kib("VmHWM:")? })
    }
}

/// Returns the sum of all values of a metric, whatever their labels; 0 if it has none.
pub(super) fn metric(page: &str, name: &str) -> u64 {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        // Another name may go on where this one ends.
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once("} ")?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.trim().parse::<u64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_page() {
        let status = "Name:\tskv-operator\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\nThreads:\t3\n";
        assert_eq!(Memory::of(status), Some(Memory { now_kib: 102_400, peak_kib: 204_800 }));
        assert_eq!(Memory::of("Name:\tx\n"), None, "a process that has just ended has none");
    }

    #[test]
    fn a_metric_is_the_sum_over_its_labels() {
        let page = "# HELP passes Passes.\npasses_total{result=\"done\"} 40\npasses_total{result=\"failed\"} 2\n\
                    passes_total_of_others 7\nleader 1\n";
        assert_eq!(metric(page, "passes_total"), 42);
        assert_eq!(metric(page, "leader"), 1);
        assert_eq!(metric(page, "absent"), 0);
    }
}
