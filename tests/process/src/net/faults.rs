//! The faults that a net may have, and the dice that decide about each message.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

/// The delay of each copy of a message; none: it is lost.
pub(super) type Arrivals = Vec<Duration>;

/// The faults of a net. Fractions are between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// The fraction of requests that no server gets.
    pub lose_requests: f64,
    /// The fraction of replies that no clerk gets.
    pub lose_replies: f64,
    /// The fraction of messages, in both directions, that arrive twice.
    pub double: f64,
    /// The largest usual delay of a copy. Delays differ, so later copies overtake earlier ones.
    pub delay: Duration,
    /// The fraction of copies that take longer.
    pub late: f64,
    /// The largest delay of those.
    pub latest: Duration,
}

impl Faults {
    /// No faults: every message arrives, once and at once.
    pub const NONE: Faults = Faults {
        lose_requests: 0.0,
        lose_replies: 0.0,
        double: 0.0,
        delay: Duration::ZERO,
        late: 0.0,
        latest: Duration::ZERO,
    };

    /// A tenth of the requests and a tenth of the replies get lost, as in the courses' unreliable
    /// nets, a tenth arrives twice, and some so late that the clerk has long asked again.
    pub const UNRELIABLE: Faults = Faults {
        lose_requests: 0.1,
        lose_replies: 0.1,
        double: 0.1,
        delay: Duration::from_millis(26),
        late: 0.05,
        latest: Duration::from_millis(500),
    };

    /// Returns the fate of a request.
    pub(super) fn request(&self, dice: &mut StdRng) -> Arrivals {
        self.message(self.lose_requests, dice)
    }

    /// Returns the fate of a reply.
    pub(super) fn reply(&self, dice: &mut StdRng) -> Arrivals {
        self.message(self.lose_replies, dice)
    }

    fn message(&self, lose: f64, dice: &mut StdRng) -> Arrivals {
        if dice.random_bool(lose) {
            return Arrivals::new();
        }
        let copies = 1 + usize::from(dice.random_bool(self.double));
        (0..copies)
            .map(|_| {
                let is_late = dice.random_bool(self.late);
                let (least, most) =
                    if is_late { (self.delay, self.latest) } else { (Duration::ZERO, self.delay) };
                dice.random_range(least..=most)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn thousand(faults: Faults) -> Vec<Arrivals> {
        let mut dice = StdRng::seed_from_u64(1);
        (0..1000).map(|_| faults.request(&mut dice)).collect()
    }

    #[test]
    fn a_reliable_net_delivers_each_message_once_and_at_once() {
        assert!(thousand(Faults::NONE).iter().all(|arrivals| arrivals == &[Duration::ZERO]));
    }

    #[test]
    fn an_unreliable_one_loses_doubles_and_delays_about_as_many_as_it_should() {
        let all = thousand(Faults::UNRELIABLE);
        let count = |what: fn(&Arrivals) -> bool| all.iter().filter(|arrivals| what(arrivals)).count();
        let lost = count(Vec::is_empty);
        let doubled = count(|arrivals| arrivals.len() == 2);
        let late = count(|arrivals| arrivals.iter().any(|delay| *delay > Faults::UNRELIABLE.delay));
        assert!((50..200).contains(&lost), "{lost}");
        assert!((50..200).contains(&doubled), "{doubled}");
        assert!((20..120).contains(&late), "{late}");
    }

    #[test]
    fn requests_and_replies_are_lost_apart() {
        let faults = Faults { lose_replies: 1.0, ..Faults::NONE };
        let mut dice = StdRng::seed_from_u64(1);
        assert_eq!((faults.request(&mut dice).len(), faults.reply(&mut dice).len()), (1, 0));
    }
}
