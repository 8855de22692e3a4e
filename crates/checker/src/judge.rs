//! The verdict on a whole history: split by key, each key searched and counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::interval::Interval;
use crate::model::{Call, State};
use crate::report::{Line, describe};
use crate::search::{Deadline, Found, search};
use crate::tokens::{self, TokenFault};
use crate::{Event, Op, Outcome};

/// The settings of a judgement.
#[derive(Debug, Clone)]
pub struct Options {
    /// The time limit of the search for an order, over all keys. A key that isn't decided by then
    /// counts as undecided, which is a failure.
    pub deadline: Duration,
    /// True if no key existed when the history began. Otherwise the first value seen of a key is
    /// taken for granted.
    pub starts_empty: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { deadline: Duration::from_mins(1), starts_empty: true }
    }
}

/// The findings about a history.
#[derive(Debug)]
pub struct Verdict {
    /// The number of events.
    pub events: usize,
    /// The number of different keys in them.
    pub keys: usize,
    /// The keys whose history isn't proven right.
    pub faulty: Vec<KeyReport>,
}

/// The fault of one key's history.
#[derive(Debug)]
pub struct KeyReport {
    /// The key.
    pub key: String,
    /// The fault.
    pub finding: Finding,
}

/// A fault of one key's history.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// An event with fewer or more fields than an event of its kind can have.
    Malformed(String),
    /// A token is lost, doubled, invented or out of order.
    Tokens(Vec<TokenFault>),
    /// No order of the calls explains all answers; the text shows the end of the longest order.
    NotLinearizable(String),
    /// The deadline passed before the search ended; the text shows its progress.
    Undecided(String),
}

impl Verdict {
    /// Returns true if every key's history is proven right.
    pub fn is_linearizable(&self) -> bool {
        self.faulty.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { events, keys, faulty } = self;
        if faulty.is_empty() {
            return write!(f, "linearizable: {events} operations on {keys} keys");
        }
        write!(f, "NOT proven linearizable: {} of {keys} keys, {events} operations", faulty.len())?;
        faulty.iter().try_for_each(|report| write!(f, "\n{report}"))
    }
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:?}: ", self.key)?;
        match &self.finding {
            Finding::Malformed(text) => write!(f, "the history is malformed: {text}"),
            Finding::NotLinearizable(text) => write!(f, "not linearizable\n{text}"),
            Finding::Undecided(text) => write!(f, "undecided, the deadline passed\n{text}"),
            Finding::Tokens(faults) => {
                write!(f, "{} wrong tokens or values", faults.len())?;
                faults.iter().take(FAULTS_SHOWN).try_for_each(|fault| write!(f, "\n  {fault}"))?;
                if faults.len() > FAULTS_SHOWN { write!(f, "\n  ...") } else { Ok(()) }
            }
        }
    }
}

const FAULTS_SHOWN: usize = 10;

/// Judges a history.
pub fn judge(events: &[Event], options: &Options) -> Verdict {
    let deadline = Deadline::after(options.deadline);
    let mut by_key: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_key.entry(&event.key).or_default().push(event);
    }
    let keys = by_key.len();
    let faulty = by_key
        .into_iter()
        .filter_map(|(key, events)| {
            let finding = judge_key(&events, options.starts_empty, deadline)?;
            Some(KeyReport { key: key.to_owned(), finding })
        })
        .collect();
    Verdict { events: events.len(), keys, faulty }
}

fn judge_key(events: &[&Event], starts_empty: bool, deadline: Deadline) -> Option<Finding> {
    if let Some(text) = events.iter().find_map(|event| malformed(event)) {
        return Some(Finding::Malformed(text));
    }
    // The count comes first: it is quick, and it names the token.
    if starts_empty
        && let Some(faults) = tokens::count(events)
        && !faults.is_empty()
    {
        return Some(Finding::Tokens(faults));
    }
    let mut relevant: Vec<&Event> = events.iter().copied().filter(|event| matters(event)).collect();
    relevant.sort_by_key(|event| event.call_ns);
    let intervals: Vec<Interval> = relevant
        .iter()
        .map(|event| Interval {
            call: Call::of(event),
            called: event.call_ns,
            returned: event.return_ns.filter(|_| event.outcome == Outcome::Ok),
        })
        .collect();
    match search(&intervals, State::at_start(starts_empty), deadline) {
        Found::Order => None,
        Found::NoOrder(stuck) => Some(Finding::NotLinearizable(describe(&stuck, &relevant))),
        Found::OutOfTime(stuck) => Some(Finding::Undecided(describe(&stuck, &relevant))),
    }
}

/// Returns true if an event can matter: a refused call had no effect, and an unanswered read was seen by no client.
fn matters(event: &Event) -> bool {
    match event.outcome {
        Outcome::Ok => true,
        Outcome::Refused => false,
        Outcome::Unknown => event.op != Op::Get,
    }
}

fn malformed(event: &Event) -> Option<String> {
    let needs_argument = matches!(event.op, Op::Put | Op::Append);
    let what = if event.return_ns.is_some_and(|returned| returned < event.call_ns) {
        "returned before it was called"
    } else if event.outcome != Outcome::Unknown && event.return_ns.is_none() {
        "has an outcome but never returned"
    } else if event.value.is_some() != needs_argument {
        "must have a value if it is a put or an append, and only then"
    } else if event.op == Op::Get && event.outcome == Outcome::Ok && event.output.is_none() {
        "was answered without an output"
    } else {
        return None;
    };
    Some(format!("{} {what}", Line(event)))
}
