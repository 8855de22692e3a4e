//! Percentiles.

/// Returns the smallest of the values that at least this percentage of them don't exceed; there
/// must be one. They are sorted by this.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100).clamp(1, values.len()) - 1]
}
