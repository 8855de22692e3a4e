//! A clerk whose calls become events, whatever their outcome.

use std::fmt;

use skv_client::{AppendAnswer, Clerk, DeleteAnswer, Error, GetAnswer, PutAnswer};
use skv_sharding::Revision;

use crate::Event;

/// A clerk of one client of a history, and the history's clock.
pub struct RecordedClerk<Now> {
    client: u64,
    clerk: Clerk,
    now: Now,
}

impl<Now> fmt::Debug for RecordedClerk<Now> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedClerk").field("client", &self.client).finish_non_exhaustive()
    }
}

impl<Now: Fn() -> u64> RecordedClerk<Now> {
    /// Makes the clerk of this client, whose number must be its own; `now` returns nanoseconds
    /// since the history's start.
    pub fn new(client: u64, clerk: Clerk, now: Now) -> Self {
        RecordedClerk { client, clerk, now }
    }

    /// Returns the client's number.
    pub fn client(&self) -> u64 {
        self.client
    }

    /// Reads a key.
    pub async fn get(&self, key: &str) -> (Event, Result<GetAnswer, Error>) {
        let call = Event::get(self.client, key, (self.now)());
        let answer = self.clerk.get(key.to_owned()).await;
        self.ended(call, answer, |call, answer, now| call.got(text(&answer.value), answer.revision.0, now))
    }

    /// Sets a key to a value, under a condition if there is one.
    pub async fn put(
        &self,
        key: &str,
        value: &str,
        if_revision: Option<u64>,
    ) -> (Event, Result<PutAnswer, Error>) {
        let call = Event::put(self.client, key, value, (self.now)());
        let (key, value) = (key.to_owned(), value.to_owned());
        let (call, answer) = match if_revision {
            None => (call, self.clerk.put(key, value).await),
            Some(revision) => {
                (call.if_revision(revision), self.clerk.put_if(key, value, Revision(revision)).await)
            }
        };
        self.ended(call, answer, |call, answer, now| call.stored(answer.success, answer.revision.0, now))
    }

    /// Adds to the end of a key's value.
    pub async fn append(&self, key: &str, args: &str) -> (Event, Result<AppendAnswer, Error>) {
        let call = Event::append(self.client, key, args, (self.now)());
        let answer = self.clerk.append(key.to_owned(), args.to_owned()).await;
        self.ended(call, answer, |call, answer, now| {
            call.appended(text(&answer.old_value), answer.found, answer.revision.0, now)
        })
    }

    /// Removes a key.
    pub async fn delete(&self, key: &str) -> (Event, Result<DeleteAnswer, Error>) {
        let call = Event::delete(self.client, key, (self.now)());
        let answer = self.clerk.delete(key.to_owned()).await;
        self.ended(call, answer, |call, answer, now| {
            call.deleted(answer.success, answer.found, answer.revision.0, now)
        })
    }

    fn ended<T>(
        &self,
        call: Event,
        answer: Result<T, Error>,
        answered: impl FnOnce(Event, &T, u64) -> Event,
    ) -> (Event, Result<T, Error>) {
        let now = (self.now)();
        let event = match &answer {
            Ok(answer) => answered(call, answer, now),
            Err(Error::AlreadyApplied { revision }) => call.already_applied(revision.0, now),
            Err(Error::Refused(_) | Error::NoLeader(_) | Error::Invalid(_) | Error::Unreachable(_)) => {
                call.refused(now)
            }
            Err(Error::OutcomeUnknown(_) | Error::Deadline(_)) => call.unknown(now),
        };
        (event, answer)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
