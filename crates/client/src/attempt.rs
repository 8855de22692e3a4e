//! The time that a server has for an answer, or to be connected to, before another one is asked.

use std::time::Duration;

/// The time of an attempt, within the time of a whole call. It doubles after attempts that overran it, since
/// servers may be slow; and is half of the whole at most, so that another one may still be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    time: Duration,
    longest: Duration,
    /// True if one request of this time has stayed unanswered.
    one_is_unanswered: bool,
}

impl Attempt {
    /// The time of the first attempt, unless it is set.
    pub(crate) const FIRST: Duration = Duration::from_secs(1);

    /// Returns the first attempt of a call of this length.
    pub(crate) fn first(time: Duration, whole: Duration) -> Attempt {
        let longest = whole / 2;
        Attempt { time: time.min(longest), longest, one_is_unanswered: false }
    }

    pub(crate) fn time(self) -> Duration {
        self.time
    }

    /// Makes it the next attempt after one that overran its time.
    pub(crate) fn overran(&mut self) {
        self.time = (2 * self.time).min(self.longest);
    }

    /// Makes it the next attempt after a request that stayed unanswered. Only each second one gives it more time:
    /// one alone may be a lost message, and on a net that loses many a few would take all the time of a call.
    pub(crate) fn unanswered(&mut self) {
        self.one_is_unanswered = !self.one_is_unanswered;
        if !self.one_is_unanswered {
            self.overran();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the times of an attempt and of those that follow it.
    fn times(mut attempt: Attempt, count: usize, next: fn(&mut Attempt)) -> Vec<Duration> {
        let of_one = |_| {
            let time = attempt.time();
            next(&mut attempt);
            time
        };
        (0..count).map(of_one).collect()
    }

    #[test]
    fn each_second_request_that_stays_unanswered_gives_the_next_twice_the_time() {
        let first = Attempt::first(SECOND, 8 * SECOND);
        assert_eq!(times(first, 7, Attempt::unanswered), [1, 1, 2, 2, 4, 4, 4].map(Duration::from_secs));
    }

    #[test]
    fn after_an_overrun_there_is_twice_the_time_up_to_half_of_the_whole() {
        let first = Attempt::first(SECOND, 6 * SECOND);
        assert_eq!(times(first, 4, Attempt::overran), [1, 2, 3, 3].map(Duration::from_secs));
        assert_eq!(Attempt::first(9 * SECOND, 6 * SECOND).time(), 3 * SECOND);
    }
}
