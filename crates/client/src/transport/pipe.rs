//! A `Kv.Pipeline` stream: many outstanding operations, answered in any order.
//!
//! Callers put operations into a queue; whenever the connection takes more, the whole queue becomes
//! one message. One task reads the answers, and ends overdue operations, so that callers need no
//! timers of their own.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::fast::FixedState;
use futures::Stream;
use parking_lot::Mutex;
use skv_proto::v1;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Streaming;

use super::dial::root_cause;
use super::{Dialer, Failure, Transmission, transmission};

/// The most that a message carries; a larger operation goes alone.
const MESSAGE_OPERATIONS: usize = 256;
const MESSAGE_BYTES: usize = 256 << 10;
/// The interval at which overdue operations are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(50);

/// The caller's end of the stream. Dropping it closes the stream.
#[derive(Debug)]
pub(super) struct Pipe {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    broken: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    waiting: HashMap<u64, Waiting, FixedState>,
    queue: VecDeque<Queued>,
    /// Wakes the connection when the queue was empty.
    sender: Option<Waker>,
    closed: Option<Arc<str>>,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Transmission>,
    expires: Instant,
}

#[derive(Debug)]
struct Queued {
    operation: v1::Operation,
    bytes: usize,
}

impl Pipe {
    pub(super) async fn open(dialer: &Dialer, address: &str) -> Result<Pipe, Arc<str>> {
        let mut client = dialer.dial(address).await?.kv();
        let pipe = Pipe { shared: Arc::default() };
        let outgoing = Outgoing(Arc::clone(&pipe.shared));
        match client.pipeline(outgoing).await {
            Ok(response) => {
                tokio::spawn(drive(
                    FailAtEnd(Arc::clone(&pipe.shared)),
                    address.into(),
                    response.into_inner(),
                ));
                Ok(pipe)
            }
            Err(status) => Err(format!("{address}: {}", root_cause(&status)).into()),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.shared.broken.load(Ordering::Relaxed)
    }

    /// Sends one operation. Ends at the latest soon after `expires`.
    pub(super) async fn send(
        &self,
        operation: v1::operation::Operation,
        bytes: usize,
        expires: Instant,
    ) -> Transmission {
        let (reply, answer) = oneshot::channel();
        self.shared.submit(operation, bytes, Waiting { reply, expires })?;
        answer.await.unwrap_or_else(|_| Err(Failure::Lost("the connection ended".into())))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.shared.close(&"the connection was closed".into());
    }
}

impl Shared {
    fn submit(
        &self,
        operation: v1::operation::Operation,
        bytes: usize,
        waiting: Waiting,
    ) -> Result<(), Failure> {
        let waker = {
            let mut state = self.state.lock();
            if let Some(why) = &state.closed {
                return Err(Failure::NotSent(Arc::clone(why)));
            }
            state.last_id += 1;
            let id = state.last_id;
            state.waiting.insert(id, waiting);
            state
                .queue
                .push_back(Queued { operation: v1::Operation { id, operation: Some(operation) }, bytes });
            state.sender.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Hands the answers of a message to their callers.
    fn answer(
        &self,
        answers: Vec<v1::Answer>,
        matched: &mut Vec<(oneshot::Sender<Transmission>, Transmission)>,
    ) {
        {
            let mut state = self.state.lock();
            for v1::Answer { id, answer } in answers {
                if let Some(waiting) = state.waiting.remove(&id) {
                    matched.push((waiting.reply, transmission(answer)));
                }
            }
        }
        for (reply, transmission) in matched.drain(..) {
            // The caller may have gone away.
            let _ = reply.send(transmission);
        }
    }

    /// Ends overdue operations. An operation that is still in the queue won't be sent any more.
    fn sweep(&self, now: Instant, address: &str) {
        let mut state = self.state.lock();
        let overdue: Vec<u64> =
            state.waiting.iter().filter(|(_, waiting)| waiting.expires <= now).map(|(&id, _)| id).collect();
        if overdue.is_empty() {
            return;
        }
        let State { waiting, queue, .. } = &mut *state;
        let unsent: Vec<u64> = queue.iter().map(|queued| queued.operation.id).collect();
        let late = Failure::overdue(address);
        for id in overdue {
            let failure = match unsent.binary_search(&id) {
                Ok(_) => Failure::NotSent(late.to_string().into()),
                Err(_) => late.clone(),
            };
            if let Some(overdue) = waiting.remove(&id) {
                let _ = overdue.reply.send(Err(failure));
            }
        }
        queue.retain(|queued| waiting.contains_key(&queued.operation.id));
    }

    /// Ends the stream and all outstanding operations.
    fn close(&self, why: &Arc<str>) {
        self.broken.store(true, Ordering::Relaxed);
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(Arc::clone(why));
        for queued in std::mem::take(&mut state.queue) {
            if let Some(waiting) = state.waiting.remove(&queued.operation.id) {
                let _ = waiting.reply.send(Err(Failure::NotSent(Arc::clone(why))));
            }
        }
        for (_, waiting) in state.waiting.drain() {
            let _ = waiting.reply.send(Err(Failure::Lost(Arc::clone(why))));
        }
        if let Some(waker) = state.sender.take() {
            waker.wake();
        }
    }
}

/// The messages that the connection sends: the whole queue, in messages of bounded size.
struct Outgoing(Arc<Shared>);

impl Stream for Outgoing {
    type Item = v1::PipelineRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v1::PipelineRequest>> {
        let mut state = self.0.state.lock();
        if state.closed.is_some() {
            return Poll::Ready(None);
        }
        let mut bytes = 0;
        let count = state
            .queue
            .iter()
            .take(MESSAGE_OPERATIONS)
            .take_while(|queued| {
                let first = bytes == 0;
                bytes += queued.bytes;
                first || bytes <= MESSAGE_BYTES
            })
            .count();
        if count == 0 {
            state.sender = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let operations = state.queue.drain(..count).map(|queued| queued.operation).collect();
        Poll::Ready(Some(v1::PipelineRequest { operations }))
    }
}

/// Closes the stream when its task ends for any reason, so that no caller waits for a task that is gone.
struct FailAtEnd(Arc<Shared>);

impl Drop for FailAtEnd {
    fn drop(&mut self) {
        self.0.close(&"the connection's task ended".into());
    }
}

async fn drive(shared: FailAtEnd, address: Arc<str>, mut answers: Streaming<v1::PipelineResponse>) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut matched = Vec::new();
    let why = loop {
        tokio::select! {
            biased;
            now = sweep.tick() => {
                if shared.0.broken.load(Ordering::Relaxed) {
                    return;
                }
                shared.0.sweep(now, &address);
            }
            message = answers.message() => match message {
                Ok(Some(message)) => shared.0.answer(message.answers, &mut matched),
                Ok(None) => break format!("{address} ended the stream"),
                Err(status) => break format!("{address}: {}", root_cause(&status)),
            },
        }
    };
    shared.0.close(&why.into());
}
