//! Decides on registrations that came together: their changes become one next record, which is written once.
//! Pure.

use std::time::Duration;

use super::decision::{Decision, Event};
use super::heard::Heard;
use super::register::register;
use super::registration::{Refusal, Registration};
use super::settings::{Ids, Settings};
use crate::record::Record;

/// The outcome of registrations that were decided on one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The next record with the changes of all of them in it, if something durable changed. It must be stored before
    /// any plan is given out.
    pub record: Option<Record>,
    /// The reasons for which it is written.
    pub events: Vec<Event>,
    /// The outcomes in the order of the registrations, without the records that the next one took the place of.
    /// The last registrations may have none: they have to wait until the record was stored.
    pub decisions: Vec<Result<Decision, Refusal>>,
}

impl Batch {
    /// Returns true if all plans hold no matter what another manager has written meanwhile.
    pub fn needs_no_store(&self) -> bool {
        let needs_none =
            |decision: &Result<Decision, Refusal>| decision.as_ref().is_ok_and(Decision::needs_no_store);
        self.record.is_none() && self.decisions.iter().all(needs_none)
    }
}

/// Decides on registrations as [`register`] does on each, but as if every next record had been stored at
/// once. Ends after a change of the groups, which [`Heard::saw`] has to be told of before it goes on.
pub fn register_all<'a>(
    settings: &Settings,
    record: Option<&Record>,
    heard: &mut Heard,
    registrations: impl IntoIterator<Item = &'a Registration>,
    now: Duration,
    ids: &mut Ids<'_>,
) -> Batch {
    let mut batch = Batch::default();
    for registration in registrations {
        if !batch.events.iter().all(Event::leaves_groups_alone) {
            break;
        }
        let newest = batch.record.as_ref().or(record);
        let mut decision = register(settings, newest, heard, registration, now, ids);
        if let Ok(Decision { change, .. }) = &mut decision
            && let Some((next, events)) = change.take()
        {
            batch.record = Some(next);
            batch.events.extend(events);
        }
        batch.decisions.push(decision);
    }
    batch
}
