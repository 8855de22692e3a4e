//! A call, from its first transmission to an answer, a clear error, or "outcome unknown".

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skv_proto::v1;
use skv_proto::v1::operation::Operation;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::attempt::Attempt;
use crate::error::Error;
use crate::options::Transport;
use crate::pause::Backoff;
use crate::routing::{GroupRoute, Member, Placement, Route};
use crate::session::{After, Ticket};
use crate::shared::Shared;
use crate::transport::{Failure, Patience, Peer, Reply, Transmission};

/// The operation that is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Get { key: Bytes },
    Put { key: Bytes, value: Bytes, if_revision: Option<u64> },
    Append { key: Bytes, args: Bytes },
    Delete { key: Bytes, if_revision: Option<u64> },
}

/// The rough size of an operation's envelope.
const ENVELOPE: usize = 64;
/// The largest operation, a part of a pipeline's message limit: one that is too large must not end
/// the stream of all others.
const LARGEST: usize = skv_net::MESSAGE_LIMIT / 2;

impl Request {
    fn key(&self) -> &Bytes {
        match self {
            Request::Get { key }
            | Request::Put { key, .. }
            | Request::Append { key, .. }
            | Request::Delete { key, .. } => key,
        }
    }

    fn is_mutation(&self) -> bool {
        !matches!(self, Request::Get { .. })
    }

    fn bytes(&self) -> usize {
        let value = match self {
            Request::Put { value, .. } | Request::Append { args: value, .. } => value.len(),
            Request::Get { .. } | Request::Delete { .. } => 0,
        };
        self.key().len() + value + ENVELOPE
    }

    fn operation(&self, id: Option<v1::RequestId>, cluster_id: u64, direct: bool) -> Operation {
        match self.clone() {
            Request::Get { key } => Operation::Get(v1::GetRequest { key, cluster_id, direct }),
            Request::Put { key, value, if_revision } => {
                Operation::Put(v1::PutRequest { key, value, if_revision, id, cluster_id, direct })
            }
            Request::Append { key, args } => {
                Operation::Append(v1::AppendRequest { key, args, id, cluster_id, direct })
            }
            Request::Delete { key, if_revision } => {
                Operation::Delete(v1::DeleteRequest { key, if_revision, id, cluster_id, direct })
            }
        }
    }
}

/// A call under way.
pub(crate) struct Call<'a> {
    clerk: &'a Shared,
    request: Request,
    deadline: Instant,
    ticket: Option<Ticket>,
    after: After,
    attempt: Attempt,
    backoff: Backoff,
    /// The last transmission that was refused.
    refused: Option<skv_proto::Error>,
    /// The first transmission that was lost: it may or may not have arrived.
    lost: Option<Arc<str>>,
    /// The reason why nothing could be sent.
    unsent: Option<Arc<str>>,
    /// The group of the last member that failed, or whose leader the call awaited.
    group: Option<Arc<GroupRoute>>,
}

/// The step after a transmission.
enum Next {
    Done(Result<Reply, Error>),
    /// Send it again at once: leader or owner are newly known (which ends, since terms and
    /// epochs only rise), or the group itself decides when it is asked again.
    Again,
    /// Send it again a little later.
    Pause,
}

impl<'a> Call<'a> {
    pub(crate) fn new(clerk: &'a Shared, request: Request) -> Call<'a> {
        Call {
            clerk,
            request,
            deadline: Instant::now() + clerk.options.deadline,
            ticket: None,
            after: After::default(),
            attempt: clerk.attempt,
            backoff: Backoff::default(),
            refused: None,
            lost: None,
            unsent: None,
            group: None,
        }
    }

    pub(crate) async fn run(mut self) -> Result<Reply, Error> {
        let bytes = self.request.bytes();
        if bytes > LARGEST {
            return Err(Error::Invalid(format!(
                "key and value have {bytes} bytes; a request can carry {LARGEST}"
            )));
        }
        let _permit = self.permit().await?;
        loop {
            let invalid = |error: skv_sharding::KeyError| Error::Invalid(error.to_string());
            let Some(placement) = self.clerk.router.place(self.request.key()).map_err(invalid)? else {
                if tokio::time::timeout_at(self.deadline, self.clerk.router.placeable()).await.is_err() {
                    self.unsent = Some(self.clerk.router.why_unknown());
                    return Err(self.give_up());
                }
                continue;
            };
            if self.request.is_mutation() && self.ticket.is_none() {
                let ticket = self.clerk.sessions.ticket(placement, self.after, self.deadline).await;
                self.ticket = Some(ticket?);
            }
            match self.step(placement).await {
                Next::Done(result) => return result,
                Next::Again => {}
                Next::Pause => {
                    let pause = self.backoff.next(self.clerk.router.jitter());
                    tokio::time::sleep_until(self.deadline.min(Instant::now() + pause)).await;
                }
            }
            if Instant::now() + self.last_chance() >= self.deadline {
                return Err(self.give_up());
            }
        }
    }

    /// Returns the time that must be left for another transmission. A mutation that was surely not
    /// applied stays so if there is hardly time for an answer.
    fn last_chance(&self) -> Duration {
        let surely_not_applied = self.refused.is_some() && self.lost.is_none();
        if surely_not_applied && self.request.is_mutation() { self.attempt.time() } else { Duration::ZERO }
    }

    async fn permit(&self) -> Result<SemaphorePermit<'a>, Error> {
        let clerk = self.clerk;
        if let Ok(permit) = clerk.in_flight.try_acquire() {
            return Ok(permit);
        }
        if let Ok(Ok(permit)) = tokio::time::timeout_at(self.deadline, clerk.in_flight.acquire()).await {
            return Ok(permit);
        }
        let limit = clerk.options.max_in_flight;
        let text = format!("this clerk has had {limit} other calls in flight until the deadline");
        Err(Error::Refused(skv_proto::Error::Overloaded(text)))
    }

    async fn step(&mut self, placement: Placement) -> Next {
        match self.clerk.router.route(placement) {
            Route::Member(group, member, _probe) => {
                let transmission = self.transmit(&member.peer, placement, true).await;
                self.after_member(&group, &member, placement, transmission)
            }
            Route::Forward(peer) => {
                let transmission = self.transmit(&peer, placement, false).await;
                match transmission {
                    Ok(reply) => Next::Done(Ok(reply)),
                    Err(Failure::Answered(error)) => match self.after_error(*error) {
                        Next::Again => Next::Pause,
                        next => next,
                    },
                    Err(Failure::NotSent(why)) => {
                        self.unsent = Some(why);
                        Next::Again
                    }
                    Err(Failure::Lost(why)) => {
                        self.lost.get_or_insert(why);
                        Next::Pause
                    }
                    Err(Failure::Overdue(why)) => {
                        self.transmission_overdue(why);
                        Next::Pause
                    }
                }
            }
            Route::Wait(group, until) => {
                self.unsent.get_or_insert_with(|| "the leader of the key's group isn't known".into());
                let until = until.min(self.deadline);
                let group = self.group.insert(group);
                let _ = tokio::time::timeout_at(until, group.settled()).await;
                Next::Again
            }
            Route::Nowhere => {
                self.unsent.get_or_insert_with(|| "no server can be connected to".into());
                self.clerk.router.refresh();
                Next::Pause
            }
        }
    }

    async fn transmit(&self, peer: &Peer, placement: Placement, direct: bool) -> Transmission {
        let patience = Patience { attempt: self.attempt.time(), deadline: self.deadline };
        let id = self.ticket.as_ref().map(Ticket::request_id);
        let operation = self.request.operation(id, placement.cluster_id(), direct);
        match self.clerk.options.transport {
            Transport::Stream if direct => peer.send(operation, self.request.bytes(), patience).await,
            // Boxed: its many layers would make every call's future large.
            _ => Box::pin(peer.call(operation, patience)).await,
        }
    }

    fn after_member(
        &mut self,
        group: &Arc<GroupRoute>,
        member: &Arc<Member>,
        placement: Placement,
        transmission: Transmission,
    ) -> Next {
        use skv_proto::Error as E;
        if let Err(failure) = &transmission {
            member.said(failure);
            self.group = Some(Arc::clone(group));
        }
        match transmission {
            Ok(reply) => {
                group.worked(member);
                Next::Done(Ok(reply))
            }
            Err(Failure::NotSent(why)) => {
                group.failed(member);
                self.unsent = Some(why);
                Next::Again
            }
            Err(Failure::Lost(why)) => {
                group.failed(member);
                self.lost.get_or_insert(why);
                Next::Again
            }
            Err(Failure::Overdue(why)) => {
                group.failed(member);
                self.transmission_overdue(why);
                Next::Again
            }
            Err(Failure::Answered(error)) => {
                if matches!(
                    *error,
                    E::NotLeader { .. }
                        | E::WrongIdentity(_)
                        | E::FormerLife(_)
                        | E::Unavailable(_)
                        | E::Internal(_)
                ) {
                    group.failed(member);
                }
                let denies = matches!(*error, E::WrongGroup { .. } | E::ShardMoving { target: Some(_), .. });
                let next = self.after_error(*error);
                // This member knows no newer owner: it may no longer lead, and not have heard of the shard's arrival.
                if denies && self.clerk.router.is_owner(group, placement) {
                    group.failed(member);
                }
                next
            }
        }
    }

    fn transmission_overdue(&mut self, why: Arc<str>) {
        self.lost.get_or_insert(why);
        self.attempt.unanswered();
    }

    fn after_error(&mut self, error: skv_proto::Error) -> Next {
        use skv_proto::Error as E;
        if let E::AlreadyApplied { revision } = error {
            return Next::Done(Err(Error::AlreadyApplied { revision }));
        }
        if !error.is_refusal() {
            self.lost.get_or_insert_with(|| error.to_string().into());
            return Next::Pause;
        }
        let next = match &error {
            E::NotLeader { group, leader: Some(leader), term } => {
                self.clerk.router.learn_leader(*group, leader, *term);
                Next::Again
            }
            E::WrongGroup { owner: Some(owner), .. } | E::ShardMoving { target: Some(owner), .. }
                if self.clerk.router.learn_owner(owner) =>
            {
                Next::Again
            }
            E::WrongGroup { .. } | E::ShardMoving { .. } | E::WrongIdentity(_) | E::FormerLife(_) => {
                self.clerk.router.refresh();
                Next::Pause
            }
            E::SessionExpired { floor } => return self.session_refused(*floor, error),
            E::ClockSkew { .. } if self.lost.is_none() => return self.session_refused(0, error),
            // The group decides when it is asked again.
            E::NotLeader { leader: None, .. } | E::Unavailable(_) => Next::Again,
            E::ClockSkew { .. } | E::Overloaded(_) | E::DiskFull(_) | E::MemoryFull(_) => Next::Pause,
            E::InvalidArgument(_)
            | E::StaleSequence { .. }
            | E::WindowExceeded { .. }
            | E::UnsupportedVersion(_)
            | E::Unimplemented(_)
            | E::OutcomeUnknown(_)
            | E::AlreadyApplied { .. }
            | E::Internal(_) => {
                self.refused = Some(error);
                return Next::Done(Err(self.give_up()));
            }
        };
        self.refused = Some(error);
        next
    }

    /// The session isn't accepted. Under a new one the request is another one: that is only right
    /// if none of its transmissions can have been applied (invariant 4). A read has no transmission
    /// that could have changed anything.
    fn session_refused(&mut self, floor: u64, error: skv_proto::Error) -> Next {
        self.refused = Some(error);
        if self.lost.is_some() || self.ticket.is_none() {
            return Next::Done(Err(self.give_up()));
        }
        let refused = self.ticket.take().and_then(|ticket| ticket.request_id().session);
        let is_first = self.after.refused.is_none();
        self.after = After { refused, floor: self.after.floor.max(floor) };
        if is_first { Next::Again } else { Next::Pause }
    }

    /// Makes the error with the reason for the missing answer.
    fn give_up(&mut self) -> Error {
        use skv_proto::Error as E;
        let tried = self.group.take().map(|group| group.tried()).filter(|tried| !tried.is_empty());
        let lost = self.lost.take().map(|why| match tried.as_ref().filter(|tried| tried.hear_no_leader()) {
            Some(tried) => format!("{why}; {tried}"),
            None => why.to_string(),
        });
        match (lost, self.refused.take(), tried) {
            (Some(why), ..) if self.request.is_mutation() => Error::OutcomeUnknown(why),
            (Some(why), ..) => Error::Deadline(why),
            (None, Some(E::NotLeader { .. } | E::Unavailable(_)), Some(tried)) => {
                Error::NoLeader(tried.to_string())
            }
            (None, Some(error), _) => Error::Refused(error),
            (None, None, Some(tried)) if tried.one_was_reached() => Error::NoLeader(tried.to_string()),
            (None, None, Some(tried)) => Error::Unreachable(tried.words()),
            (None, None, None) => {
                Error::Unreachable(self.unsent.take().map_or_else(String::new, |why| why.to_string()))
            }
        }
    }
}
