//! The second limit: the resident memory of the process, for all that no account sees.
//!
//! An allocator keeps pages of which parts are freed, so resident memory hardly falls when data is
//! deleted, and can't decide alone. But what was once counted while it was resident fits again. So from
//! the first sample at the limit the highest count that was resident shortly before is a ceiling, below
//! which data may grow into pages that the process has already. The count of that moment wouldn't do: it
//! may be small because most was just deleted. If resident memory grows on all the same, the ceiling falls
//! by what it grew, whatever is counted then.

/// The highest count that resident memory has shown to fit.
#[derive(Debug, Default)]
pub(crate) struct Ceiling {
    /// The highest count since resident memory came near the limit.
    shown: Option<Sample>,
    /// True from the first sample at the limit on.
    holds: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    counted: u64,
    /// The resident memory at that moment.
    resident: u64,
}

impl Sample {
    /// Returns this count, less what resident memory has grown since for other things than what is counted.
    fn less_growth_until(self, now: Sample) -> u64 {
        let grown = now.resident.saturating_sub(self.resident);
        let counted = now.counted.saturating_sub(self.counted);
        self.counted.saturating_sub(grown.saturating_sub(counted))
    }
}

impl Ceiling {
    /// Returns the resident memory from which on there is a ceiling.
    fn high(limit: u64) -> u64 {
        limit - limit / 16
    }

    /// Returns the resident memory below which there is none any more.
    fn low(limit: u64) -> u64 {
        limit - limit / 8
    }

    /// Takes a sample of the resident memory, and of the bytes that are counted at the same time.
    pub(crate) fn sample(&mut self, limit: u64, resident: u64, counted: u64) {
        if resident < Ceiling::low(limit) {
            *self = Ceiling::default();
            return;
        }
        let now = Sample { counted, resident };
        let shown = self.shown.get_or_insert(now);
        let left = shown.less_growth_until(now);
        if !self.holds {
            self.holds = resident >= Ceiling::high(limit);
            if counted >= left {
                *shown = now;
            } else if self.holds {
                *shown = Sample { counted: left, resident };
            }
        } else if resident > shown.resident + limit / 64 {
            *shown = Sample { counted: left, resident };
        }
    }

    /// Returns the ceiling, a little below what was counted; `None` if there is none.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let shown = self.shown.filter(|_| self.holds)?;
        Some(shown.counted - shown.counted / 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1600;
    /// Resident and counted bytes.
    type Pair = (u64, u64);

    /// Takes samples of (resident, counted), and returns the last ceiling.
    fn after(samples: &[Pair]) -> Option<u64> {
        let mut ceiling = Ceiling::default();
        for &(resident, counted) in samples {
            ceiling.sample(LIMIT, resident, counted);
        }
        ceiling.bytes()
    }

    #[test]
    fn near_the_limit_the_count_becomes_the_ceiling() {
        let cases: [(&[Pair], Option<u64>); 7] = [
            (&[], None),
            (&[(1499, 960)], None),
            (&[(1500, 960)], Some(930)),
            // What is deleted leaves its pages: it fits again.
            (&[(1500, 960), (1490, 320)], Some(930)),
            (&[(1500, 960), (1525, 640)], Some(930)),
            // But if resident memory grows on below the ceiling, that was too high by what it grew.
            (&[(1500, 960), (1526, 640)], Some(905)),
            (&[(1500, 960), (1399, 640)], None),
        ];
        for (samples, ceiling) in cases {
            assert_eq!(after(samples), ceiling, "{samples:?}");
        }
    }

    #[test]
    fn what_was_deleted_fits_again_however_little_is_counted_at_the_limit() {
        let cases: [(&[Pair], Option<u64>); 6] = [
            (&[(1500, 960), (1526, 96)], Some(905)),
            (&[(1500, 960), (1526, 96), (1552, 96)], Some(880)),
            // Something passing brings it to the limit only after most was deleted.
            (&[(1490, 960), (1490, 96), (1500, 96)], Some(921)),
            (&[(1420, 800), (1490, 960), (1490, 96), (1500, 96)], Some(921)),
            (&[(1490, 96), (1500, 96)], Some(93)),
            // Resident memory may grow by more than all that is counted.
            (&[(1500, 20), (1599, 20)], Some(0)),
        ];
        for (samples, ceiling) in cases {
            assert_eq!(after(samples), ceiling, "{samples:?}");
        }
    }

    #[test]
    fn a_ceiling_never_rises_while_memory_stays_near_the_limit() {
        assert_eq!(after(&[(1500, 320), (1560, 960)]), Some(310));
        assert_eq!(after(&[(1500, 320), (1399, 320), (1500, 960)]), Some(930), "it was let go in between");
    }
}
