//! The clerk: the handle that applications call.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use skv_sharding::Revision;
use tokio::sync::Semaphore;

use crate::attempt::Attempt;
use crate::call::{Call, Request};
use crate::error::Error;
use crate::options::{Options, Target};
use crate::pause::Jitter;
use crate::routing::Router;
use crate::session::Sessions;
use crate::shared::Shared;
use crate::transport::{self, Dialer, Pool, Reply};

/// The answer to a get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetAnswer {
    /// The value; empty if there is no such key.
    pub value: Bytes,
    /// True if there is such a key.
    pub found: bool,
    /// The key's revision; 0 = no such key.
    pub revision: Revision,
}

/// The answer to a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutAnswer {
    /// False: the condition failed and nothing changed.
    pub success: bool,
    /// The key's revision afterwards.
    pub revision: Revision,
}

/// The answer to an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendAnswer {
    /// The value before.
    pub old_value: Bytes,
    /// True if there was such a key before.
    pub found: bool,
    /// The key's revision afterwards.
    pub revision: Revision,
}

/// The answer to a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteAnswer {
    /// False: the condition failed and nothing changed.
    pub success: bool,
    /// True if there was such a key before.
    pub found: bool,
    /// After a failed condition the key's revision, else 0.
    pub revision: Revision,
}

/// A linearizable, exactly-once handle to a cluster. Cheap to clone; all clones share
/// connections, shard map and session, and many calls may be in flight.
///
/// A call ends in an answer, a clear error, or [`Error::OutcomeUnknown`]. Dropping its
/// future gives it up: a mutation may then have been applied, or not, at most once.
///
/// ```
/// use skv_client::{Clerk, Options};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let store = skv_fake::Fake::group(1, 4);
/// # let manager = store.manager();
/// let clerk = Clerk::connect(Options::manager([manager]))?;
/// clerk.put("greeting", "hello").await?;
/// assert_eq!(clerk.append("greeting", ", world").await?.old_value, "hello");
///
/// let found = clerk.get("greeting").await?;
/// assert_eq!(found.value, "hello, world");
/// // Succeeds only if nobody has changed the key since.
/// assert!(clerk.put_if("greeting", "goodbye", found.revision).await?.success);
/// assert!(!clerk.delete_if("greeting", found.revision).await?.success);
/// # Ok::<(), skv_client::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Clerk {
    shared: Arc<Shared>,
}

impl fmt::Debug for Clerk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clerk").field(&self.shared.options).finish()
    }
}

impl Clerk {
    /// Makes a clerk; connections are opened when calls need them. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no address, or one that isn't `HOST:PORT`.
    pub fn connect(options: Options) -> Result<Clerk, Error> {
        let options = options.fitted();
        let (seeds, seeds_are_servers) = match &options.target {
            Target::Manager(addresses) => (addresses, false),
            Target::Seeds(addresses) => (addresses, true),
        };
        check_addresses(seeds)?;
        let dialer = Dialer {
            connector: options.connector.clone().unwrap_or_else(skv_net::tcp),
            attempt: Attempt::first(options.connect_timeout, options.deadline),
        };
        let pool = Pool::new(dialer, options.streams, options.connections);
        let router = Arc::new(Router::new(pool, Jitter::new(options.seed), seeds, seeds_are_servers));
        let attempt = Attempt::first(options.attempt_timeout, options.deadline);
        let patience = attempt.time();
        let mut background = vec![tokio::spawn(Arc::clone(&router).ask(patience)).abort_handle()];
        if !seeds_are_servers {
            background.push(tokio::spawn(Arc::clone(&router).watch(patience)).abort_handle());
        }
        let shared = Shared {
            sessions: Sessions::new(Arc::clone(&router), patience),
            in_flight: Semaphore::new(options.max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            router,
            attempt,
            options,
            background,
        };
        Ok(Clerk { shared: Arc::new(shared) })
    }

    /// Reads a key: sees every write that was answered before this call began.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<GetAnswer, Error> {
        match self.call(Request::Get { key: key.into() }).await? {
            Reply::Get(answer) => Ok(GetAnswer {
                value: detached(answer.value),
                found: answer.found,
                revision: Revision(answer.revision),
            }),
            other => Err(mismatch(&other)),
        }
    }

    /// Sets a key to a value.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<PutAnswer, Error> {
        self.put_request(Request::Put { key: key.into(), value: value.into(), if_revision: None }).await
    }

    /// Sets a key to a value if it has this revision; 0 = if there is no such key.
    pub async fn put_if(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        revision: Revision,
    ) -> Result<PutAnswer, Error> {
        self.put_request(Request::Put { key: key.into(), value: value.into(), if_revision: Some(revision.0) })
            .await
    }

    /// Adds to the end of a key's value; a missing key counts as empty.
    pub async fn append(&self, key: impl Into<Bytes>, args: impl Into<Bytes>) -> Result<AppendAnswer, Error> {
        match self.call(Request::Append { key: key.into(), args: args.into() }).await? {
            Reply::Append(answer) => Ok(AppendAnswer {
                old_value: detached(answer.old_value),
                found: answer.found,
                revision: Revision(answer.revision),
            }),
            other => Err(mismatch(&other)),
        }
    }

    /// Removes a key.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<DeleteAnswer, Error> {
        self.delete_request(Request::Delete { key: key.into(), if_revision: None }).await
    }

    /// Removes a key if it has this revision; 0 = succeeds only if there is no such key.
    pub async fn delete_if(&self, key: impl Into<Bytes>, revision: Revision) -> Result<DeleteAnswer, Error> {
        self.delete_request(Request::Delete { key: key.into(), if_revision: Some(revision.0) }).await
    }

    async fn put_request(&self, request: Request) -> Result<PutAnswer, Error> {
        match self.call(request).await? {
            Reply::Put(answer) => {
                Ok(PutAnswer { success: answer.success, revision: Revision(answer.revision) })
            }
            other => Err(mismatch(&other)),
        }
    }

    async fn delete_request(&self, request: Request) -> Result<DeleteAnswer, Error> {
        match self.call(request).await? {
            Reply::Delete(answer) => Ok(DeleteAnswer {
                success: answer.success,
                found: answer.found,
                revision: Revision(answer.revision),
            }),
            other => Err(mismatch(&other)),
        }
    }

    async fn call(&self, request: Request) -> Result<Reply, Error> {
        Call::new(&self.shared, request).run().await
    }
}

fn check_addresses(addresses: &[String]) -> Result<(), Error> {
    if addresses.is_empty() {
        return Err(Error::Invalid("the clerk was given no address to ask".to_owned()));
    }
    for address in addresses {
        if transport::origin(address).is_none() {
            return Err(Error::Invalid(format!("{address:?} is not an address of the form HOST:PORT")));
        }
    }
    Ok(())
}

/// Values up to this size are copied out of the message that they came in.
const SMALL: usize = 4096;

/// A small value must not keep alive a large message for as long as its owner keeps it.
fn detached(value: Bytes) -> Bytes {
    if value.len() <= SMALL { Bytes::copy_from_slice(&value) } else { value }
}

/// Reports a reply of the wrong kind: a defect of the server, and its effect is unknown.
fn mismatch(reply: &Reply) -> Error {
    Error::OutcomeUnknown(format!("the server answered another question: {reply:?}"))
}
