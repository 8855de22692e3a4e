//! The files that a replica leaves: where they are put, and when they are removed.

use std::io;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::failed::Failed;
use crate::replica::Replica;
use crate::running::Running;

/// The interval at which the size of the group's former lives is looked at.
const LOOK_AT_FORMER: Duration = Duration::from_secs(30);

/// The pause before a disk is tried again that has no room, or opens no file, now.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The place for a replica's files.
#[derive(Debug, Clone, Copy)]
pub(super) enum Aside {
    /// They are kept until a successor is a voter.
    Quarantine,
    /// They are kept until a person removes them.
    Former,
    /// They hold nothing, and are removed.
    Nowhere,
}

/// Puts a replica's files where no replica uses them.
pub(super) async fn put_aside(
    env: &Environment,
    replica: &Replica,
    reason: String,
    aside: Aside,
    stop: &CancellationToken,
) -> Result<(), Failed> {
    let group = replica.group;
    replica.wait(None, &reason);
    let put_aside = patiently(env, "quarantine", || {
        let data = env.data.clone();
        async move {
            match aside {
                Aside::Quarantine => data.quarantine(group).map(Some),
                Aside::Former => data.keep_as_former(group).map(Some),
                Aside::Nowhere => data.discard(group).map(|()| None),
            }
        }
    });
    let kept = tokio::select! {
        kept = put_aside => kept,
        () = stop.cancelled() => return Ok(()),
    };
    match kept {
        Ok(Some(dir)) => {
            let until = match aside {
                Aside::Former => "a person removes it",
                Aside::Quarantine | Aside::Nowhere => "a successor is a voter",
            };
            tracing::warn!(%group, dir = %dir.display(), until, "the replica's files are kept");
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => Err(Failed { group, reason: format!("{reason}; and it can't be put aside: {error}") }),
    }
}

/// Does some work in a task of the disk, as soon as the disk lets it.
pub(super) async fn patiently<T, F>(
    env: &Environment,
    name: &str,
    mut work: impl FnMut() -> F,
) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    skv_disk::patiently(name, RETRY, || {
        let done = skv_disk::run(&*env.disk, name, work());
        async move { done.await.flatten() }
    })
    .await
}

impl Running {
    /// Looks again and again at what is kept of the group's former lives: a person may remove it.
    pub(super) async fn look_at_former(&self, env: &Environment) {
        let group = self.place.group;
        loop {
            let data = env.data.clone();
            match skv_disk::run(&*env.disk, "former", async move { data.former(group) }).await.flatten() {
                Ok(former) => *self.former.lock() = former,
                Err(error) => tracing::debug!(%group, %error, "former lives can't be looked at"),
            }
            tokio::time::sleep(LOOK_AT_FORMER).await;
        }
    }

    /// Removes the damaged files of a predecessor once this replica is a voter and the change that made it
    /// one is over, but those of a former life of the group.
    pub(super) async fn clear_quarantine(&self, env: &Environment) {
        let mut watch = self.consensus.watch();
        while !watch.is_settled_voter(self.place.replica) {
            if watch.changed().await.is_err() {
                return;
            }
        }
        let (group, uid, incarnation) = (self.place.group, self.place.uid, self.place.incarnation);
        let clear = || {
            let data = env.data.clone();
            async move { data.clear_quarantine(group, uid, incarnation) }
        };
        if let Err(error) = patiently(env, "quarantine", clear).await {
            tracing::warn!(%group, %error, "damaged files of a predecessor can't be removed");
        }
    }
}
