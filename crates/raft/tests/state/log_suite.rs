//! openraft's own tests of storage, on our log and our state machine.

use std::path::Path;
use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use skv_disk::{Disk, MemoryDisk};
use skv_log::{Log, Options};
use skv_raft::log_store::LogStore;
use skv_raft::state_machine::StateMachine;
use skv_raft::types::TypeConfig;
use skv_store::Store;

/// A builder that keeps everything on a new disk; short segments and no cache, so that entries are
/// read from many segments.
struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, ()> for Builder {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<TypeConfig>> {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let options = Options { segment_bytes: 16 * 512, cache_bytes: 0, ..Options::default() };
        let dir = Path::new("/log");
        Log::format(&disk, dir, 7, &options).await.unwrap();
        let (log, _) = Log::open(disk.clone(), dir, &options).await.unwrap();
        let store = Arc::new(Store::new(0));
        disk.create_dir_all(Path::new("/snapshots")).unwrap();
        let state_machine = StateMachine::open(disk, "/snapshots".into(), store).await.unwrap();
        Ok(((), LogStore::new(log), state_machine))
    }
}

#[tokio::test]
async fn the_storage_is_what_openraft_expects() {
    Suite::test_all(Builder).await.unwrap();
}
