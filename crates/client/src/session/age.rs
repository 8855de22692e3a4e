//! The age at which a session is replaced by the next. Pure.

use std::time::Duration;

/// The phase of a session's life: servers surely know it for some time only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Age {
    /// New mutations use it.
    Young,
    /// New mutations still use it, while the next one is opened: its calls should end before
    /// servers may forget it.
    Late,
    /// Servers may have forgotten it.
    Over,
}

impl Age {
    pub(super) fn of(since_opened: Duration, ttl: Duration) -> Age {
        match since_opened {
            since if since <= ttl / 2 => Age::Young,
            since if since <= ttl => Age::Late,
            _ => Age::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_session_is_opened_after_half_the_time() {
        let (second, ttl) = (Duration::from_secs(1), Duration::from_secs(10));
        assert_eq!(Age::of(Duration::ZERO, ttl), Age::Young);
        assert_eq!(Age::of(5 * second, ttl), Age::Young);
        assert_eq!(Age::of(6 * second, ttl), Age::Late);
        assert_eq!(Age::of(10 * second, ttl), Age::Late);
        assert_eq!(Age::of(11 * second, ttl), Age::Over);
    }
}
