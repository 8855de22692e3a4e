//! The standard health service. The service that users want and the process as a whole have the same
//! status, since load balancers and probes ask for the whole, which is the service "".

use std::marker::PhantomData;

use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as Served, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

/// The name under which the whole process is asked for.
const WHOLE: &str = "";

/// The status of the service `S`.
#[derive(Debug)]
pub struct Health<S> {
    reporter: HealthReporter,
    told: Option<bool>,
    service: PhantomData<fn() -> S>,
}

impl<S: NamedService> Health<S> {
    /// Makes the health service of a process whose service isn't ready yet.
    pub async fn new() -> (Health<S>, HealthServer<impl Served>) {
        let (reporter, server) = health_reporter();
        let mut health = Health { reporter, told: None, service: PhantomData };
        health.tell(false).await;
        (health, server)
    }

    /// Sets the status. Watchers receive changes only.
    pub async fn tell(&mut self, works: bool) {
        if self.told.replace(works) == Some(works) {
            return;
        }
        let status = if works { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in [WHOLE, S::NAME] {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
