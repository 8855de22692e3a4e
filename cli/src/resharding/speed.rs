//! The speed at which bytes arrive, and the expected time of the last one. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// The time over which the speed is measured: long enough to span a few shards.
const WINDOW: Duration = Duration::from_secs(10);

/// Samples of the bytes that had arrived, with their times.
#[derive(Debug, Default)]
pub(super) struct Speed(VecDeque<(Duration, u64)>);

impl Speed {
    /// Takes in the total of bytes that had arrived at a time since the start.
    pub(super) fn sample(&mut self, at: Duration, came: u64) {
        self.0.push_back((at, came));
        // The last sample before the window is its beginning.
        while self.0.get(1).is_some_and(|(second, _)| *second + WINDOW <= at) {
            self.0.pop_front();
        }
    }

    /// Returns the bytes per second; `None` as long as nothing arrived.
    pub(super) fn per_second(&self) -> Option<u64> {
        let ((from, before), (to, after)) = (self.0.front()?, self.0.back()?);
        let (bytes, time) = (after.checked_sub(*before)?, to.checked_sub(*from)?);
        let per_second = u128::from(bytes) * 1000 / time.as_millis().max(1);
        u64::try_from(per_second).ok().filter(|per_second| *per_second > 0 && !time.is_zero())
    }

    /// Returns the time until this number of bytes has arrived.
    pub(super) fn until(&self, bytes: u64) -> Option<Duration> {
        Some(Duration::from_secs(bytes / self.per_second()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(samples: &[(u64, u64)]) -> Speed {
        let mut speed = Speed::default();
        for &(seconds, came) in samples {
            speed.sample(Duration::from_secs(seconds), came);
        }
        speed
    }

    #[test]
    fn the_last_seconds_count() {
        // 1000 a second at first, 10 a second in the window.
        let speed = speed(&[(0, 0), (10, 10_000), (15, 10_050), (20, 10_100)]);
        assert_eq!(speed.per_second(), Some(10));
        assert_eq!(speed.until(300), Some(Duration::from_secs(30)));
        assert_eq!(speed.until(0), Some(Duration::ZERO));
    }

    #[test]
    fn without_progress_the_time_isnt_known() {
        for samples in [&[][..], &[(0, 5)], &[(0, 5), (0, 9)], &[(0, 5), (1, 5)], &[(0, 5), (1, 3)]] {
            let speed = speed(samples);
            assert_eq!((speed.per_second(), speed.until(100)), (None, None), "{samples:?}");
        }
    }
}
