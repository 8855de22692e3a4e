"""Servers that answer as a test tells them to."""

from collections.abc import Callable
from concurrent import futures

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, status_pb2

from shardedkv.v1 import common_pb2, error_pb2, kv_pb2, kv_pb2_grpc

CLUSTER = 7
SHARDS = 4


def refuse(context: grpc.ServicerContext, reason: int, **fields: object) -> None:
    """Ends a call as our servers do."""
    error = error_pb2.Error(reason=reason, **{"message": error_pb2.Reason.Name(reason), **fields})
    detail = any_pb2.Any()
    detail.Pack(error)
    status = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message=error.message, details=[detail])
    context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, error.message)


class FakeServer(kv_pb2_grpc.KvServicer):
    """A server of group 0, which owns all shards. Each append is answered by the next of `answers`, and
    when they are used up, applied: `applied` has the requests."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        kv_pb2_grpc.add_KvServicer_to_server(self, self._server)
        self.address = f"{host}:{self._server.add_insecure_port(f'{host}:0')}"
        self.answers: list[Callable[[kv_pb2.AppendRequest, grpc.ServicerContext], object]] = []
        self.asked: list[kv_pb2.AppendRequest] = []
        self.applied: list[kv_pb2.AppendRequest] = []
        self.sessions = 0
        self.groups = [common_pb2.Group(id=0, uid=100, replicas=[self.replica(1)])]
        self._server.start()

    def replica(self, identity: int) -> common_pb2.Replica:
        """This server as a member."""
        return common_pb2.Replica(id=identity, server=f"fake-{identity}", client_address=self.address)

    def stop(self) -> None:
        """It answers nothing any more."""
        self._server.stop(None)

    def GetShardMap(self, request, context):
        ranges = [common_pb2.ShardRange(first=0, count=SHARDS, group=0, epoch=5)]
        return common_pb2.ShardMap(
            cluster_id=CLUSTER,
            revision=1,
            shards=SHARDS,
            hash=common_pb2.HASH_INTEGER,
            groups=self.groups,
            ranges=ranges,
        )

    def OpenSession(self, request, context):
        self.sessions += 1
        opened_at = max(1000, request.after + 1)
        return kv_pb2.OpenSessionResponse(
            session=kv_pb2.SessionId(opened_at=opened_at, random=self.sessions), ttl_ms=600_000
        )

    def Append(self, request, context):
        self.asked.append(request)
        if self.answers:
            self.answers.pop(0)(request, context)
        self.applied.append(request)
        return kv_pb2.AppendResponse(revision=len(self.applied))
