//! The numbers of a server's metrics page, in the text format of OpenMetrics. Pure.

/// The numbers of one look, summed over groups and kinds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) operations: u64,
    pub(super) failed: u64,
    pub(super) keys: u64,
    pub(super) bytes: u64,
    pub(super) log_bytes: u64,
    pub(super) memory: u64,
    pub(super) memory_limit: u64,
    pub(super) connections: u64,
}

impl Sample {
    pub(super) fn of(page: &str) -> Sample {
        Sample {
            operations: sum(page, "skv_operations_total"),
            failed: sum(page, "skv_operations_failed_total"),
            keys: sum(page, "skv_keys"),
            bytes: sum(page, "skv_stored_bytes"),
            log_bytes: sum(page, "skv_replica_log_bytes"),
            memory: sum(page, "skv_memory_resident_bytes"),
            memory_limit: sum(page, "skv_memory_limit_bytes"),
            connections: sum(page, "skv_connections"),
        }
    }
}

/// Returns the sum of a metric's values; 0 if the page doesn't have it.
fn sum(page: &str, metric: &str) -> u64 {
    page.lines().filter_map(|line| value(line.strip_prefix(metric)?)).sum()
}

/// Returns the value after a metric's name: ` 7`, or `{group="g0"} 7`.
fn value(rest: &str) -> Option<u64> {
    let after_labels = match rest.strip_prefix('{') {
        Some(labels) => labels.split_once('}')?.1,
        None => rest,
    };
    after_labels.strip_prefix(' ')?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_summed_over_labels_and_names_are_whole() {
        let page = "\
# HELP skv_operations Operations that were answered.
# TYPE skv_operations counter
skv_operations_total{operation=\"Get\"} 40
skv_operations_total{operation=\"Put\"} 2
skv_operations_failed_total{reason=\"OVERLOADED\"} 3
skv_keys{group=\"g0\"} 5
skv_keys_of_something_else 100
skv_memory_resident_bytes 1024
skv_connections{listener=\"client\"} 6
skv_connections_refused_total{listener=\"client\"} 9
# EOF
";
        let expected =
            Sample { operations: 42, failed: 3, keys: 5, memory: 1024, connections: 6, ..Sample::default() };
        assert_eq!(Sample::of(page), expected);
    }
}
