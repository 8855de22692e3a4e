//! The findings in words: the calls as a person reads them.

use std::fmt::{self, Display, Write as _};

use crate::search::Stuck;
use crate::{Event, Op, Outcome};

/// Returns the end of the longest order, and the calls that don't fit behind it.
pub(crate) fn describe(stuck: &Stuck, events: &[&Event]) -> String {
    let mut text = format!("  after {} operations", stuck.depth);
    let mut section = |title: &str, indexes: &[usize]| {
        if indexes.is_empty() {
            return;
        }
        text.push_str(title);
        for &index in indexes {
            let _ = write!(text, "\n    {}", Line(events[index]));
        }
    };
    section(", the last of them", &stuck.tail);
    section("\n  no order explains", stuck.culprit.as_slice());
    section("\n  beside", &stuck.misfits);
    section("\n  although a later call saw a lower revision", stuck.left_behind.as_slice());
    text
}

/// An event as a line of text.
pub(crate) struct Line<'a>(pub(crate) &'a Event);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.0;
        let op = match event.op {
            Op::Get => "get",
            Op::Put => "put",
            Op::Append => "append",
            Op::Delete => "delete",
        };
        write!(f, "client {} {op}", event.client)?;
        if let Some(value) = &event.value {
            write!(f, " {}", shortened(value))?;
        }
        if let Some(revision) = event.if_revision {
            write!(f, " if revision {revision}")?;
        }
        f.write_str(match event.outcome {
            Outcome::Ok => " ->",
            Outcome::Refused => " -> refused",
            Outcome::Unknown => " -> unknown",
        })?;
        if let Some(output) = &event.output {
            write!(f, " {}", shortened(output))?;
        }
        for (name, flag) in [("found", event.found), ("success", event.success)] {
            if let Some(flag) = flag {
                write!(f, " {name}={flag}")?;
            }
        }
        if let Some(revision) = event.revision {
            write!(f, " revision {revision}")?;
        }
        let returned = event.return_ns.map_or("never".to_owned(), milliseconds);
        write!(f, "  [{} .. {returned} ms]", milliseconds(event.call_ns))
    }
}

fn milliseconds(ns: u64) -> String {
    format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000)
}

/// Returns the end of a long value, since values differ there.
fn shortened(value: &str) -> String {
    let length = value.chars().count();
    if length <= 40 {
        return format!("{value:?}");
    }
    let end: String = value.chars().skip(length - 32).collect();
    format!("({} bytes){end:?}", value.len() - end.len())
}
