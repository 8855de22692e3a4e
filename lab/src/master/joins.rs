//! Has every group join: the configuration grows as servers come, and the shards move.

use std::time::Duration;

use shardmanager::rules::Change;
use shardmanager::{Manager, Published};
use skv_sharding::GroupId;

/// The pause before a failed join is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs for as long as the manager does.
pub(super) async fn run(manager: Manager) {
    let mut published = manager.watch();
    loop {
        let due = published.borrow_and_update().as_deref().map(due).unwrap_or_default();
        if due.is_empty() {
            if published.changed().await.is_err() {
                return;
            }
            continue;
        }
        match manager.change("", &Change::Join(due.clone()), false).await {
            Ok(change) => tracing::info!(groups = ?due, moves = change.moves.len(), "servers join"),
            Err(error) => {
                tracing::warn!(groups = ?due, %error, "servers can't join yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Returns the groups that work and don't share the shards yet.
fn due(published: &Published) -> Vec<GroupId> {
    let joined = published.record.history.newest().groups;
    let groups = published.record.groups.keys().copied();
    groups.filter(|group| !joined.contains(group) && published.leaders.contains_key(group)).collect()
}
