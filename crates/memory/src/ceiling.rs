//! The second brake: the resident memory of the process, for all that no account sees.
//!
//! An allocator keeps pages of which parts are freed, so resident memory hardly falls when data is
//! deleted, and can't decide alone. But what was once counted while it was resident fits again. So at
//! the first sample near the limit the count becomes a ceiling, below which data may grow into pages that
//! the process has already.

/// The highest count that resident memory has shown to fit.
#[derive(Debug, Default)]
pub(crate) struct Ceiling {
    set: Option<Set>,
}

#[derive(Debug, Clone, Copy)]
struct Set {
    counted: u64,
    /// The resident memory at that moment.
    resident: u64,
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
            self.set = None;
        }
        if resident < Ceiling::high(limit) {
            return;
        }
        match &mut self.set {
            None => self.set = Some(Set { counted, resident }),
            // It grew on although the count is below the ceiling: less fits than was thought.
            Some(set) if resident > set.resident + limit / 64 => {
                *set = Set { counted: counted.min(set.counted), resident };
            }
            Some(_) => {}
        }
    }

    /// Returns the ceiling, a little below what was counted; `None` if there is none.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.set.map(|set| set.counted - set.counted / 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1600;
    /// Resident and counted bytes.
    type Sample = (u64, u64);

    /// Takes samples of (resident, counted), and returns the last ceiling.
    fn after(samples: &[Sample]) -> Option<u64> {
        let mut ceiling = Ceiling::default();
        for &(resident, counted) in samples {
            ceiling.sample(LIMIT, resident, counted);
        }
        ceiling.bytes()
    }

    #[test]
    fn near_the_limit_the_count_becomes_the_ceiling() {
        let cases: [(&[Sample], Option<u64>); 7] = [
            (&[], None),
            (&[(1499, 960)], None),
            (&[(1500, 960)], Some(930)),
            // What is deleted leaves its pages: it fits again.
            (&[(1500, 960), (1490, 320)], Some(930)),
            (&[(1500, 960), (1525, 640)], Some(930)),
            // But if resident memory grows on below the ceiling, that was too high.
            (&[(1500, 960), (1526, 640)], Some(620)),
            (&[(1500, 960), (1399, 640)], None),
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
