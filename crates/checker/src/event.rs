//! A call of a client: the request, its time, and its outcome.

use serde::{Deserialize, Serialize};

/// The requested operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Read the value.
    Get,
    /// Replace the value.
    Put,
    /// Add to the end of the value; returns the value before.
    Append,
    /// Remove the key.
    Delete,
}

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was answered; a failed condition is an answer too.
    Ok,
    /// It was never applied and never will be.
    Refused,
    /// It may have been applied, or may be at any later time.
    Unknown,
}

/// A line of a history.
///
/// Times are nanoseconds since the history's start, by one clock for all clients. A field that an
/// answer doesn't contain stays `None` and isn't checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The client that called.
    pub client: u64,
    /// The requested operation.
    pub op: Op,
    /// The key.
    pub key: String,
    /// The argument of a put or an append.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Get: the value. Append: the value before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// True if there was such a key before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<bool>,
    /// The condition: the revision that the key must have; 0 = it must not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// True if the condition held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// The key's revision afterwards; 0 = no such key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The time at which the call began.
    pub call_ns: u64,
    /// The time at which it ended; `None` = it was never answered.
    pub return_ns: Option<u64>,
    /// The outcome of the call.
    pub outcome: Outcome,
}

impl Event {
    fn begin(client: u64, op: Op, key: impl Into<String>, call_ns: u64) -> Event {
        Event {
            client,
            op,
            key: key.into(),
            value: None,
            output: None,
            found: None,
            if_revision: None,
            success: None,
            revision: None,
            call_ns,
            return_ns: None,
            outcome: Outcome::Unknown,
        }
    }

    /// A get that has no answer yet.
    pub fn get(client: u64, key: impl Into<String>, call_ns: u64) -> Event {
        Self::begin(client, Op::Get, key, call_ns)
    }

    /// A put that has no answer yet.
    pub fn put(client: u64, key: impl Into<String>, value: impl Into<String>, call_ns: u64) -> Event {
        Event { value: Some(value.into()), ..Self::begin(client, Op::Put, key, call_ns) }
    }

    /// An append that has no answer yet.
    pub fn append(client: u64, key: impl Into<String>, value: impl Into<String>, call_ns: u64) -> Event {
        Event { value: Some(value.into()), ..Self::begin(client, Op::Append, key, call_ns) }
    }

    /// A delete that has no answer yet.
    pub fn delete(client: u64, key: impl Into<String>, call_ns: u64) -> Event {
        Self::begin(client, Op::Delete, key, call_ns)
    }

    /// The same call with a condition.
    #[must_use]
    pub fn if_revision(self, revision: u64) -> Event {
        Event { if_revision: Some(revision), ..self }
    }

    /// A get was answered; `revision` 0 = no such key.
    #[must_use]
    pub fn got(self, value: impl Into<String>, revision: u64, return_ns: u64) -> Event {
        Event {
            output: Some(value.into()),
            found: Some(revision != 0),
            revision: Some(revision),
            ..self.ended(Outcome::Ok, return_ns)
        }
    }

    /// A put was answered.
    #[must_use]
    pub fn stored(self, success: bool, revision: u64, return_ns: u64) -> Event {
        Event { success: Some(success), revision: Some(revision), ..self.ended(Outcome::Ok, return_ns) }
    }

    /// An append was answered.
    #[must_use]
    pub fn appended(self, old_value: impl Into<String>, found: bool, revision: u64, return_ns: u64) -> Event {
        Event {
            output: Some(old_value.into()),
            found: Some(found),
            revision: Some(revision),
            ..self.ended(Outcome::Ok, return_ns)
        }
    }

    /// A delete was answered; `revision` is the key's after a failed condition, else 0.
    #[must_use]
    pub fn deleted(self, success: bool, found: bool, revision: u64, return_ns: u64) -> Event {
        Event {
            success: Some(success),
            found: Some(found),
            revision: Some(revision),
            ..self.ended(Outcome::Ok, return_ns)
        }
    }

    /// A mutation was applied earlier, and its answer is no longer kept.
    #[must_use]
    pub fn already_applied(self, revision: u64, return_ns: u64) -> Event {
        Event { revision: Some(revision), ..self.ended(Outcome::Ok, return_ns) }
    }

    /// The call was never applied and never will be.
    #[must_use]
    pub fn refused(self, return_ns: u64) -> Event {
        self.ended(Outcome::Refused, return_ns)
    }

    /// The client gave up, and the call may still be applied.
    #[must_use]
    pub fn unknown(self, return_ns: u64) -> Event {
        self.ended(Outcome::Unknown, return_ns)
    }

    fn ended(self, outcome: Outcome, return_ns: u64) -> Event {
        Event { outcome, return_ns: Some(return_ns), ..self }
    }
}
