//! Findings as errors.

/// Turns a finding into an error.
pub(super) fn found<T>(result: Result<T, String>) -> anyhow::Result<T> {
    result.map_err(anyhow::Error::msg)
}
