//! Requests as a clerk makes them, one by one: so that a test can send the same one again.

use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::{AppendRequest, AppendResponse, OpenSessionRequest, RequestId, SessionId};
use tonic::Status;
use tonic::transport::Channel;

/// Opens a new session.
pub async fn open_session(kv: &mut KvClient<Channel>) -> SessionId {
    let opened = kv.open_session(OpenSessionRequest { after: 0 }).await.expect("a session");
    opened.into_inner().session.expect("it has an id")
}

/// Returns the id of a session's first request.
pub fn first_request_of(session: SessionId) -> RequestId {
    RequestId { session: Some(session), seq: 1, acked_below: 1 }
}

/// Makes an append the first request of a session, no matter how often it is called.
pub async fn first_append(
    kv: &mut KvClient<Channel>,
    session: SessionId,
    key: &str,
    token: &str,
) -> Result<AppendResponse, Status> {
    let request = AppendRequest {
        key: key.to_owned().into(),
        args: token.to_owned().into(),
        id: Some(first_request_of(session)),
        ..AppendRequest::default()
    };
    Ok(kv.append(request).await?.into_inner())
}
