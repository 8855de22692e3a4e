//! The results of the clients.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies in microseconds, and failures.
#[derive(Debug)]
pub(super) struct Meter {
    latencies: Histogram<u64>,
    failures: u64,
    first_failure: Option<String>,
}

impl Meter {
    /// Makes a meter that distinguishes latencies that differ by 0.1%, from 1 microsecond to a minute.
    pub(super) fn new() -> anyhow::Result<Meter> {
        Ok(Meter {
            latencies: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            failures: 0,
            first_failure: None,
        })
    }

    pub(super) fn record(&mut self, outcome: Result<(), skv_client::Error>, latency: Duration) {
        match outcome {
            Ok(()) => self.latencies.saturating_record(latency.as_micros() as u64),
            Err(error) => {
                self.failures += 1;
                self.first_failure.get_or_insert_with(|| error.to_string());
            }
        }
    }

    pub(super) fn add(&mut self, other: &Meter) -> anyhow::Result<()> {
        self.latencies.add(&other.latencies)?;
        self.failures += other.failures;
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&other.first_failure);
        }
        Ok(())
    }

    /// Returns the number of answered requests.
    pub(super) fn answered(&self) -> u64 {
        self.latencies.len()
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    pub(super) fn first_failure(&self) -> Option<&str> {
        self.first_failure.as_deref()
    }

    /// Returns the latency in microseconds that this share of the requests didn't exceed.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        self.latencies.value_at_quantile(share)
    }

    pub(super) fn mean(&self) -> f64 {
        self.latencies.mean()
    }

    pub(super) fn max(&self) -> u64 {
        self.latencies.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_add_up() {
        let mut first = Meter::new().unwrap();
        let mut second = Meter::new().unwrap();
        for millis in 1..=100 {
            let meter = if millis % 2 == 0 { &mut first } else { &mut second };
            meter.record(Ok(()), Duration::from_millis(millis));
        }
        second.record(Err(skv_client::Error::Invalid("no".into())), Duration::from_millis(1));
        first.add(&second).unwrap();
        assert_eq!((first.answered(), first.failures(), first.first_failure()), (100, 1, Some("no")));
        assert!((49_900..=50_100).contains(&first.quantile(0.5)), "{}", first.quantile(0.5));
        assert!((99_900..=100_100).contains(&first.max()));
    }
}
