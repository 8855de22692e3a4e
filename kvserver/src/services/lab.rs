//! The lab's `KvServer` service: the messages of `shardedkv.lab.v1` before the handlers of
//! [`KvService`]. It has no store, no rule and no retry of its own.

use bytes::Bytes;
use skv_proto::lab::v1 as lab;
use skv_proto::lab::v1::kv_server_server::KvServer;
use skv_proto::v1::kv_server::Kv as _;
use skv_proto::{Error, v1};
use skv_sharding::Revision;
use tonic::{Request, Response, Status};

use super::kv::KvService;

/// Serves users who know text only.
#[derive(Debug, Clone)]
pub(crate) struct LabService {
    kv: KvService,
}

impl LabService {
    /// The same store as behind this service.
    pub(crate) fn new(kv: KvService) -> Self {
        LabService { kv }
    }
}

/// Others may put any bytes.
fn text(bytes: Bytes) -> Result<String, Error> {
    String::from_utf8(bytes.into()).map_err(|_| {
        Error::InvalidArgument(
            "the value isn't UTF-8, which this service can't tell: ask shardedkv.v1.Kv".to_owned(),
        )
    })
}

/// The append took effect all the same: who is told that it was refused would send it again.
fn old_text(bytes: Bytes, revision: u64) -> Result<String, Status> {
    text(bytes).map_err(|_| {
        let typed = Status::from(Error::AlreadyApplied { revision: Revision(revision) });
        let message = format!(
            "appended as revision {revision}; the value before isn't UTF-8, which this service can't tell"
        );
        Status::with_details(typed.code(), message, Bytes::copy_from_slice(typed.details()))
    })
}

#[tonic::async_trait]
impl KvServer for LabService {
    async fn get(&self, request: Request<lab::GetRequest>) -> Result<Response<lab::GetResponse>, Status> {
        let lab::GetRequest { key } = request.into_inner();
        let get = v1::GetRequest { key: key.into(), ..v1::GetRequest::default() };
        let answer = self.kv.get(Request::new(get)).await?.into_inner();
        Ok(Response::new(lab::GetResponse { value: text(answer.value)? }))
    }

    async fn put(&self, request: Request<lab::PutRequest>) -> Result<Response<lab::PutResponse>, Status> {
        let lab::PutRequest { key, value } = request.into_inner();
        let put = v1::PutRequest { key: key.into(), value: value.into(), ..v1::PutRequest::default() };
        let answer = self.kv.put(Request::new(put)).await?.into_inner();
        Ok(Response::new(lab::PutResponse { success: answer.success }))
    }

    async fn append(
        &self,
        request: Request<lab::AppendRequest>,
    ) -> Result<Response<lab::AppendResponse>, Status> {
        let lab::AppendRequest { key, args } = request.into_inner();
        let append = v1::AppendRequest { key: key.into(), args: args.into(), ..v1::AppendRequest::default() };
        let answer = self.kv.append(Request::new(append)).await?.into_inner();
        Ok(Response::new(lab::AppendResponse { old_value: old_text(answer.old_value, answer.revision)? }))
    }
}
