//! The standard health service: one word for the service that users want and for the process as a
//! whole, since load balancers and probes ask for the whole, the service "".

use std::marker::PhantomData;

use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as Served, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

/// The name under which the whole process is asked for.
const WHOLE: &str = "";

/// Tells whether the service `S` works.
#[derive(Debug)]
pub struct Health<S> {
    reporter: HealthReporter,
    told: Option<bool>,
    service: PhantomData<fn() -> S>,
}

impl<S: NamedService> Health<S> {
    /// Makes the health service of a process whose service doesn't work yet.
    pub async fn new() -> (Health<S>, HealthServer<impl Served>) {
        let (reporter, server) = health_reporter();
        let mut health = Health { reporter, told: None, service: PhantomData };
        health.tell(false).await;
        (health, server)
    }

    /// Says whether it works, to those that watch too: they hear of changes only.
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
