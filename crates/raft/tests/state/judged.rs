//! Snapshots of a leader whose bytes are whole and that no state can be made of: openraft would end the
//! replica when one can't be installed, so it gets none.

use std::sync::Arc;

use futures::StreamExt as _;
use skv_disk::{Disk, MemoryDisk};
use skv_proto::v1;
use skv_proto::v1::snapshot_item::Item;
use skv_raft::state_machine::StateMachine;
use skv_snapshot::{OpenError, SnapshotDir, SnapshotFile, SpoolError};
use skv_store::Store;

use crate::support::*;

/// Receives the snapshot of these items as a follower does.
async fn received(items: Vec<v1::SnapshotItem>) -> Result<SnapshotFile, SpoolError> {
    let theirs = SnapshotDir::open(Arc::new(MemoryDisk::new()), "/s".into()).unwrap();
    let sent = theirs.write(v1::SnapshotHeader::default(), items.into_iter()).await.unwrap();
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let state = StateMachine::open(disk, "/s".into(), Arc::new(Store::new(2))).await.unwrap();
    let mut spool = state.snapshots().spool(sent.length());
    let chunks: Vec<_> = sent.chunks(0).collect().await;
    for chunk in chunks {
        spool.write(chunk.unwrap()).await?;
    }
    spool.finish().await
}

#[tokio::test]
async fn a_snapshot_that_is_whole_and_cannot_be_is_refused_before_it_is_installed() {
    let store = founded(1, v1::Limits::default());
    apply_all(&store, 5, vec![put("a", "1"), put("b", "2")]);
    let good = dump(&store);
    received(good.clone()).await.unwrap();
    let mut cases = vec![Vec::new(), good[1..].to_vec(), good[..good.len() - 1].to_vec()];
    for number in [3, u64::MAX] {
        let mut changed = good.clone();
        for item in &mut changed {
            if let Some(Item::Shard(state)) = &mut item.item {
                state.keys = number;
            }
        }
        cases.push(changed);
    }
    for items in cases {
        let refused = received(items.clone()).await.unwrap_err();
        assert!(matches!(refused, SpoolError::Wrong(OpenError::Damaged { .. })), "{items:?}: {refused}");
    }
}
