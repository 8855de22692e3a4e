//! The status of a server.

use std::time::Duration;

use skv_proto::v1::admin_client::AdminClient;
use skv_proto::v1::{StatusRequest, StatusResponse};
use tonic::transport::{Channel, Endpoint};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Connects to the admin service at this address; `None` if nothing answers.
pub async fn call_admin(peer_address: &str) -> Option<AdminClient<Channel>> {
    call_admin_for(peer_address, ANSWER_WITHIN).await
}

/// The same for calls that may take this long.
pub async fn call_admin_for(peer_address: &str, answer_within: Duration) -> Option<AdminClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{peer_address}")).ok()?;
    let channel = endpoint.connect_timeout(ANSWER_WITHIN).timeout(answer_within).connect().await.ok()?;
    Some(AdminClient::new(channel))
}

/// Returns the status of the server whose peer listener has this address; `None` if it doesn't answer.
pub async fn status(peer_address: &str) -> Option<StatusResponse> {
    let answer = call_admin(peer_address).await?.status(StatusRequest {}).await;
    Some(answer.ok()?.into_inner())
}
