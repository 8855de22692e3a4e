//! Leadership among operators by a `Lease`: its holder acts; an operator that loses it ends.
//!
//! Clocks of other machines aren't trusted: a Lease has expired when it was seen unchanged
//! for its whole duration by our own clock.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep};

/// The time after which a holder that hasn't renewed has lost the Lease.
const DURATION: Duration = Duration::from_secs(15);
/// The time after which a holder that can't renew stops to act, before others may begin.
const GIVE_UP: Duration = Duration::from_secs(10);
/// The pause between renewals, and between looks at another's Lease.
const PAUSE: Duration = Duration::from_secs(3);

/// An operator that wants to hold a Lease.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) leases: Api<Lease>,
    pub(crate) lease: String,
    pub(crate) identity: String,
}

/// The Lease as it was last seen, and the time since which it is unchanged.
struct Sighting {
    version: Option<String>,
    since: Instant,
}

impl Candidate {
    /// Waits until the Lease is ours.
    pub(crate) async fn acquire(&self) {
        let mut sighting = Sighting { version: None, since: Instant::now() };
        let mut told = None;
        loop {
            match self.try_acquire(&mut sighting).await {
                Ok(None) => return,
                Ok(Some(holder)) => {
                    if told.as_ref() != Some(&holder) {
                        tracing::info!(holder, "another operator acts; waiting for its Lease");
                        told = Some(holder);
                    }
                }
                Err(error) => tracing::warn!(%error, lease = self.lease, "can't read or write the Lease"),
            }
            sleep(PAUSE).await;
        }
    }

    /// Renews the Lease for as long as that works; returns when it is lost.
    pub(crate) async fn hold(&self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < GIVE_UP {
            sleep(PAUSE.min(GIVE_UP.saturating_sub(renewed.elapsed()))).await;
            let began = Instant::now();
            let left = GIVE_UP.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.renew()).await {
                Ok(Ok(true)) => renewed = began,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "can't renew the Lease"),
                Err(_) => tracing::warn!("renewing the Lease takes too long"),
            }
        }
    }

    /// Releases the Lease, so that a successor needn't wait.
    pub(crate) async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.lease).await? else { return Ok(()) };
        if holder(&lease) != Some(self.identity.as_str()) {
            return Ok(());
        }
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        self.leases.replace(&self.lease, &PostParams::default(), &lease).await?;
        Ok(())
    }

    /// Tries to take the Lease. Returns `None` if it is ours, else its holder.
    async fn try_acquire(&self, sighting: &mut Sighting) -> Result<Option<String>, kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.lease).await? else {
            let metadata = ObjectMeta { name: Some(self.lease.clone()), ..ObjectMeta::default() };
            let new = Lease { metadata, spec: Some(self.spec(0)) };
            return match self.leases.create(&PostParams::default(), &new).await {
                Ok(_) => Ok(None),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some("another".to_owned())),
                Err(error) => Err(error),
            };
        };
        if lease.resource_version() != sighting.version {
            *sighting = Sighting { version: lease.resource_version(), since: Instant::now() };
        }
        let current = holder(&lease).unwrap_or_default().to_owned();
        let is_free = current.is_empty() || current == self.identity;
        if !is_free && sighting.since.elapsed() < DURATION {
            return Ok(Some(current));
        }
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        lease.spec = Some(self.spec(transitions + 1));
        // The write is against the version that was read: of several that try, one succeeds.
        match self.leases.replace(&self.lease, &PostParams::default(), &lease).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some("another".to_owned())),
            Err(error) => Err(error),
        }
    }

    /// Renews the Lease; returns true if it is still ours.
    async fn renew(&self) -> Result<bool, kube::Error> {
        let mut lease = self.leases.get(&self.lease).await?;
        if holder(&lease) != Some(self.identity.as_str()) {
            return Ok(false);
        }
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        self.leases.replace(&self.lease, &PostParams::default(), &lease).await?;
        Ok(true)
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: now.clone(),
            renew_time: now,
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

#[cfg(test)]
mod tests;
