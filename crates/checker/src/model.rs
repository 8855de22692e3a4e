//! The sequential specification of one key, against which histories are judged.

use crate::fingerprint::Fingerprint;
use crate::{Event, Op};

/// The knowledge of a key at one point of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) value: Value,
    /// The key's revision if `exact`, else a bound that it doesn't lie below. Revisions of a
    /// key never fall, also when it was deleted between.
    revision: u64,
    exact: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    Absent,
    Text(Fingerprint),
    /// The history began with a value that nobody has seen yet.
    Unseen,
}

/// A call, reduced to the fields that the specification needs. A field that the client never learnt
/// is `None`, which fits everything.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    op: Op,
    argument: Fingerprint,
    output: Option<Fingerprint>,
    found: Option<bool>,
    condition: Option<u64>,
    success: Option<bool>,
    revision: Option<u64>,
}

impl Call {
    pub(crate) fn of(event: &Event) -> Call {
        Call {
            op: event.op,
            argument: Fingerprint::of(event.value.as_deref().unwrap_or_default()),
            output: event.output.as_deref().map(Fingerprint::of),
            found: event.found,
            condition: event.if_revision,
            success: event.success,
            revision: event.revision,
        }
    }

    /// Returns the key's revision during or after the call, if the call contains it and there is a key.
    pub(crate) fn seen_revision(&self) -> Option<u64> {
        self.revision.filter(|&revision| revision != 0)
    }

    /// Returns true if the call replaces the value and reveals nothing about the previous one.
    pub(crate) fn is_blind(&self) -> bool {
        matches!(self.op, Op::Put | Op::Delete) && self.condition.is_none() && self.found.is_none()
    }
}

impl State {
    pub(crate) fn at_start(empty: bool) -> State {
        State { value: if empty { Value::Absent } else { Value::Unseen }, revision: 0, exact: false }
    }

    /// Returns the part that distinguishes this state from others, apart from the lower bound on
    /// the revision: of two states that are equal here, the one with the lower
    /// [`bound`](Self::bound) allows all that the other one does.
    pub(crate) fn kind(self) -> (Value, Option<u64>) {
        (self.value, self.is_exact().then_some(self.revision))
    }

    /// Returns the bound below which the key's revision can't lie; 0 if it is known exactly.
    pub(crate) fn bound(self) -> u64 {
        if self.is_exact() { 0 } else { self.revision }
    }

    /// Returns the lowest revision that a later call can see.
    pub(crate) fn least_revision(self) -> u64 {
        self.revision
    }

    /// Returns true if `revision` is the key's own; without a key it only bounds the next one's.
    fn is_exact(self) -> bool {
        self.exact && self.value != Value::Absent
    }

    /// Returns the states that the key may be in after the call; none if the call's answer is
    /// impossible here, and two if it isn't known whether its condition held.
    pub(crate) fn step(self, call: &Call) -> [Option<State>; 2] {
        match call.condition {
            None if call.success == Some(false) => [None, None],
            None => [self.apply(call), None],
            Some(condition) => {
                let held = (call.success != Some(false))
                    .then(|| self.with_revision(condition)?.apply(call))
                    .flatten();
                let failed = (call.success != Some(true))
                    .then(|| self.without_revision(condition, call.revision))
                    .flatten();
                [held, failed]
            }
        }
    }

    fn apply(self, call: &Call) -> Option<State> {
        let before = self.with_value(call.found, call.output)?;
        match call.op {
            Op::Get => match call.revision {
                Some(revision) => before.with_revision(revision),
                None => Some(before),
            },
            Op::Put => before.mutated(Value::Text(call.argument), call.revision),
            Op::Append => {
                let value = match before.value {
                    Value::Absent => Value::Text(call.argument),
                    Value::Text(old) => Value::Text(old.then(call.argument)),
                    Value::Unseen => Value::Unseen,
                };
                before.mutated(value, call.revision)
            }
            Op::Delete if call.revision.is_some_and(|revision| revision != 0) => None,
            Op::Delete => before.mutated(Value::Absent, None),
        }
    }

    /// Returns this state if the key has the value that a call saw.
    fn with_value(self, found: Option<bool>, seen: Option<Fingerprint>) -> Option<State> {
        let not_empty = seen.is_some_and(|seen| seen.length > 0);
        match self.value {
            Value::Absent => (found != Some(true) && !not_empty).then_some(self),
            Value::Text(value) => {
                (found != Some(false) && seen.is_none_or(|seen| seen == value)).then_some(self)
            }
            Value::Unseen => match (found, seen) {
                (Some(false), _) if not_empty => None,
                (Some(false), _) => Some(State { value: Value::Absent, ..self }),
                (Some(true), Some(seen)) => Some(State { value: Value::Text(seen), ..self }),
                (None, Some(seen)) if not_empty => Some(State { value: Value::Text(seen), ..self }),
                _ => Some(self),
            },
        }
    }

    /// Returns this state if the key can have this revision; 0 = there is no such key.
    fn with_revision(self, revision: u64) -> Option<State> {
        let exact = State { revision, exact: true, ..self };
        match self.value {
            Value::Absent => (revision == 0).then_some(self),
            Value::Unseen if revision == 0 => Some(State { value: Value::Absent, ..self }),
            Value::Text(_) if revision == 0 => None,
            _ if self.is_exact() => (revision == self.revision).then_some(self),
            _ => (revision >= self.revision).then_some(exact),
        }
    }

    /// Returns this state if the key can have another revision than this one; `actual` is the one
    /// that it has, where known.
    fn without_revision(self, revision: u64, actual: Option<u64>) -> Option<State> {
        match actual {
            Some(actual) if actual == revision => None,
            Some(actual) => self.with_revision(actual),
            None => {
                let surely = match self.value {
                    Value::Absent => revision == 0,
                    _ => self.is_exact() && self.revision == revision,
                };
                (!surely).then_some(self)
            }
        }
    }

    fn mutated(self, value: Value, revision: Option<u64>) -> Option<State> {
        match revision {
            Some(revision) => (revision > self.revision).then_some(State { value, revision, exact: true }),
            None => Some(State { value, revision: self.revision + 1, exact: false }),
        }
    }
}
