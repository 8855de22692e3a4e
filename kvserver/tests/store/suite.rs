//! openraft's own tests of storage, on our log and state machine.

use std::path::Path;
use std::sync::Arc;

use kvserver::disk::{Disk, MemoryDisk};
use kvserver::log::{Log, Options};
use kvserver::raft::log_store::LogStore;
use kvserver::raft::state_machine::StateMachine;
use kvserver::raft::types::TypeConfig;
use kvserver::store::Store;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine> for Builder {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<TypeConfig>> {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let options = Options::default();
        let log = Path::new("/log");
        Log::format(&disk, log, 1, &options).await.unwrap();
        let (log, _) = Log::open(Arc::clone(&disk), log, &options).await.unwrap();
        disk.create_dir_all(Path::new("/snapshots")).unwrap();
        let store = Arc::new(Store::new(1));
        let machine = StateMachine::open(disk, "/snapshots".into(), store).await.unwrap();
        Ok(((), LogStore::new(log), machine))
    }
}

#[tokio::test]
async fn openraft_is_content_with_our_storage() {
    Suite::test_all(Builder).await.unwrap();
}
