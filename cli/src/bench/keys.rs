//! The keys of a measurement: nobody else's, and removed when it is over.

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use skv_client::{Clerk, Error};

use super::settings::Args;

/// The number of keys that are written, or removed, at the same time.
const AT_ONCE: usize = 256;

/// The end of the keys.
pub(super) enum Fate {
    /// They were to stay.
    Kept,
    Removed,
    /// They are there, for this reason.
    Left(Error),
}

/// Returns the name of one of the keys.
pub(super) fn key(index: u32) -> String {
    format!("bench-{index:08}")
}

/// Returns the first and the last name.
pub(super) fn range(args: &Args) -> [String; 2] {
    [key(0), key(args.keys - 1)]
}

/// Writes every key, so that there is something to read.
pub(super) async fn fill(clerk: &Clerk, args: &Args) -> Result<(), Error> {
    let value = Bytes::from(vec![b'v'; args.value_size]);
    each("writing keys", args, async |index| clerk.put(key(index), value.clone()).await.map(drop)).await
}

/// Removes every key.
pub(super) async fn clear(clerk: &Clerk, args: &Args) -> Fate {
    match each("removing keys", args, async |index| clerk.delete(key(index)).await.map(drop)).await {
        Ok(()) => Fate::Removed,
        Err(error) => Fate::Left(error),
    }
}

async fn each(what: &str, args: &Args, work: impl AsyncFn(u32) -> Result<(), Error>) -> Result<(), Error> {
    let bar = ProgressBar::new(u64::from(args.keys));
    if let Ok(style) = ProgressStyle::with_template(&format!("{what}  {{bar:20}} {{pos}}/{{len}}")) {
        bar.set_style(style);
    }
    let (bar_of_all, work) = (&bar, &work);
    let all = stream::iter(0..args.keys).map(Ok).try_for_each_concurrent(AT_ONCE, |index| async move {
        work(index).await?;
        bar_of_all.inc(1);
        Ok(())
    });
    let outcome = all.await;
    bar.finish_and_clear();
    outcome
}
