//! The figure that so many percent of all don't exceed.

/// The smallest of the values that at least so many percent of them don't exceed; there must
/// be one. They are sorted by this.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100).clamp(1, values.len()) - 1]
}
