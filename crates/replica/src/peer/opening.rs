//! The first message of a stream, which says whom the stream is for. A sender has it ready when it calls.

use std::time::Duration;

use skv_proto::Error;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The longest time in which it comes.
const LIMIT: Duration = Duration::from_secs(10);

/// Waits for the first message of a stream; within limits, and not once the listener is `closed`.
pub(super) async fn first<T>(
    message: impl Future<Output = Result<Option<T>, Status>>,
    closed: &CancellationToken,
) -> Result<Option<T>, Status> {
    tokio::select! {
        first = message => first,
        () = closed.cancelled() => Err(Error::Unavailable("the server is stopping".into()).into()),
        () = tokio::time::sleep(LIMIT) => {
            Err(Status::deadline_exceeded(format!("no first message came within {LIMIT:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::timeout;
    use tonic::Code;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_calls_and_says_nothing_is_sent_away() {
        let closed = CancellationToken::new();
        let silent = || pending::<Result<Option<()>, Status>>();
        let ended = timeout(LIMIT * 2, first(silent(), &closed)).await.expect("it has a limit");
        assert_eq!(ended.unwrap_err().code(), Code::DeadlineExceeded);
        closed.cancel();
        assert_eq!(first(silent(), &closed).await.unwrap_err().code(), Code::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_message_opens_the_stream() {
        let closed = CancellationToken::new();
        assert_eq!(first(ready(Ok(Some(7))), &closed).await.unwrap(), Some(7));
    }
}
