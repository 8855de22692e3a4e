//! The later life of the group, if another replica has told this one of it.
//!
//! The members that were lost may return after the group was revived without them. While no shard manager
//! runs they would elect a leader, and take writes that the revived group never has. A replica of it
//! refuses their messages, and says why: so they learn it from the one server that knows.

use std::sync::Arc;

use skv_proto::Error;
use skv_sharding::Incarnation;
use tokio::sync::watch;
use tonic::Status;

/// The incarnation by which the group goes on without this replica. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LaterLife(Arc<watch::Sender<Option<Incarnation>>>);

impl LaterLife {
    /// Takes a refusal of a message from a replica of incarnation `own`.
    pub(crate) fn hear(&self, own: Incarnation, refusal: &Status) {
        let Some(Error::FormerLife(incarnation)) = Error::from_status(refusal) else { return };
        if incarnation > own {
            self.0.send_replace(Some(incarnation));
        }
    }

    /// Waits until there is one.
    pub(crate) async fn heard(&self) -> Incarnation {
        let mut heard = self.0.subscribe();
        loop {
            if let Some(incarnation) = *heard.borrow_and_update() {
                return incarnation;
            }
            // The sender is in `self`, so that this doesn't end before.
            let _ = heard.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn only_a_later_life_of_the_group_ends_a_replica() {
        let later_life = LaterLife::default();
        let own = Incarnation(3);
        let refusals = [
            Error::FormerLife(Incarnation(2)),
            Error::FormerLife(Incarnation(3)),
            Error::WrongIdentity("it has another replica".into()),
        ];
        for refusal in refusals {
            later_life.hear(own, &refusal.into());
            assert_eq!(later_life.heard().now_or_never(), None);
        }
        later_life.hear(own, &Status::failed_precondition("a proxy's own words"));
        assert_eq!(later_life.heard().now_or_never(), None);
        later_life.hear(own, &Error::FormerLife(Incarnation(9)).into());
        assert_eq!(later_life.heard().now_or_never(), Some(Incarnation(9)));
    }
}
