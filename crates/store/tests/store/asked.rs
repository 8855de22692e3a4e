//! Everything that a store is asked for without a change of its state. `tests/fuzz` asks for the same.

use skv_proto::v1;
use skv_store::{Move, Store};

/// Asks a store for all that clients, leaders and carriers ask for, also about these commands and moves.
pub(crate) fn ask_all(store: &Store, commands: &[v1::Command], moves: &[Move]) {
    for command in commands {
        let _ = store.get(&command.key);
        let _ = store.locate(&command.key);
        let _ = store.growth(command).fills();
    }
    for departure in store.departures() {
        let to = departure.to;
        let _ = store.base_copy(&to).map(|base| base.into_chunks(100).count());
        if let Some(beginning) = store.beginning(&to) {
            let _ = store.difference(&to, beginning, 100);
            let _ = store.installation(&to, beginning);
        }
        let _ = (store.backlog(&to), store.memory_of(to.shard));
    }
    let _ = (store.arrivals(), store.shards(), store.stats(), store.highest_epoch(), store.owned_shards());
    let _ = (store.sessions_due(store.time()), store.sessions_due(u64::MAX));
    let _ = store.would_assign(moves);
    while store.free_some() {}
}
