//! Each batch is told once it is durable, with what it took.

use std::sync::Arc;

use parking_lot::Mutex;
use skv_log::{Log, OnWritten, Options};

use crate::support::{append, dir, entry, formatted, options, shared};

#[tokio::test]
async fn a_batch_is_told_before_those_who_wait_for_it() {
    let disk = formatted(&options(64)).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = told.clone();
    let on_written = OnWritten::new(move |written| noted.lock().push(written.bytes));
    let (log, _) = Log::open(shared(&disk), dir(), &Options { on_written, ..options(64) }).await.unwrap();
    assert_eq!(*told.lock(), [0; 0]);
    append(&log, vec![entry(1, 0, 10), entry(1, 1, 10)]).await.unwrap();
    append(&log, vec![entry(1, 2, 2000)]).await.unwrap();
    let told = told.lock();
    assert_eq!(told.len(), 2, "one batch for each append: {told:?}");
    assert!(told[0] > 0 && told[1] >= 2000 && told.iter().all(|bytes| bytes % 512 == 0), "{told:?}");
}
