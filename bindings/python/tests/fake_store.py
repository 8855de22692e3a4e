"""A whole store in this process, with several servers and a shard manager: it does what a case of
`testdata/clerk/calls.yaml` tells it, and otherwise serves a model of the store."""

import threading
from concurrent import futures
from dataclasses import dataclass, field

import grpc
from fake_server import refuse

from shardedkv.hashing import shard_of
from shardedkv.v1 import common_pb2, error_pb2, kv_pb2, kv_pb2_grpc, shard_manager_pb2_grpc

CLUSTER = 7
NAMES = {
    "fnv1": common_pb2.HASH_FNV1,
    "fnv1a": common_pb2.HASH_FNV1A,
    "integer": common_pb2.HASH_INTEGER,
    "integer-or-fnv1": common_pb2.HASH_INTEGER_OR_FNV1,
}


@dataclass(frozen=True)
class Seen:
    """A transmission, as a server saw it."""

    server: int
    request: object

    @property
    def id(self) -> kv_pb2.RequestId | None:
        """Returns its id; `None` for reads."""
        return getattr(self.request, "id", None)


@dataclass
class Fates:
    """The fates of transmissions: of the first, in their order, and of all others at each server."""

    first: list = field(default_factory=list)
    later: object = "ok"
    later_at: list = field(default_factory=list)

    def next(self, server: int) -> object:
        """Returns the fate of the next one, at this server."""
        if self.first:
            return self.first.pop(0)
        return self.later_at[server] if self.later_at else self.later


class FakeStore:
    """Groups of these sizes, which own the shards as listed, all in epoch 1."""

    def __init__(self, groups: list[int], owners: list[int], *, hash_name: str = "integer", dead=(), copies=True):
        self.fates = Fates()
        self.seen: list[Seen] = []
        # The numbers of the sessions that are opened first.
        self.opens: list[int] = []
        self.copies = copies
        self._lock = threading.Lock()
        self._hash, self._owners = NAMES[hash_name], owners
        self._sessions = 1000
        self._answers: dict[tuple, object] = {}
        self._values: dict[bytes, bytes] = {}
        self.applied = 0
        self._servers = [_start(self, index) for index in range(sum(groups))]
        self.addresses = [address for _, address in self._servers]
        members = iter(self.replica(index) for index in range(sum(groups)))
        self._groups = [
            common_pb2.Group(id=group, uid=100 + group, replicas=[next(members) for _ in range(size)])
            for group, size in enumerate(groups)
        ]
        self._manager = grpc.server(futures.ThreadPoolExecutor(4))
        shard_manager_pb2_grpc.add_ShardManagerServicer_to_server(_Manager(self), self._manager)
        self.manager = f"127.0.0.1:{self._manager.add_insecure_port('127.0.0.1:0')}"
        self._manager.start()
        for index in dead:
            self._servers[index][0].stop(None).wait()

    def stop(self) -> None:
        """Ends all servers."""
        self._manager.stop(None)
        for server, _ in self._servers:
            server.stop(None)

    def replica(self, index: int) -> common_pb2.Replica:
        """Returns a server as a member."""
        return common_pb2.Replica(id=index + 1, server=f"kv-{index}", client_address=self.addresses[index])

    def map(self) -> common_pb2.ShardMap:
        """Returns the shard map."""
        ranges = [
            common_pb2.ShardRange(first=shard, count=1, group=group, epoch=1)
            for shard, group in enumerate(self._owners)
        ]
        return common_pb2.ShardMap(
            cluster_id=CLUSTER,
            revision=1,
            shards=len(self._owners),
            hash=self._hash,
            groups=self._groups,
            ranges=ranges,
        )

    def open_session(self, after: int) -> kv_pb2.SessionId:
        """Opens the next session, after that time."""
        with self._lock:
            number = self.opens.pop(0) if self.opens else self._sessions
            self._sessions = max(self._sessions, number) + 1
            return kv_pb2.SessionId(opened_at=max(number, after + 1), random=number)

    def handle(self, index: int, request, context: grpc.ServicerContext):
        """Lets a transmission meet its fate."""
        with self._lock:
            self.seen.append(Seen(index, type(request).FromString(request.SerializeToString())))
            fate = self.fates.next(index)
            if fate in ("ok", "mute", "break"):
                answer = self._apply(request)
        match fate:
            case "ok":
                return answer
            case "break":
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            case "lose" | "mute":
                over = threading.Event()
                if context.add_callback(over.set):
                    over.wait()
                context.abort(grpc.StatusCode.CANCELLED, "nobody listens any more")
            case _:
                refuse(context, **self._error(fate))

    def _apply(self, request):
        if isinstance(request, kv_pb2.GetRequest):
            return kv_pb2.GetResponse(value=self._values.get(request.key, b""), found=request.key in self._values)
        shard = shard_of(self._hash, request.key, len(self._owners))
        number = (shard, request.id.session.random, request.id.seq)
        if number not in self._answers:
            old = self._values.get(request.key, b"")
            self._values[request.key] = old + request.args
            self.applied += 1
            self._answers[number] = kv_pb2.AppendResponse(old_value=old, revision=self.applied)
        return self._answers[number]

    def _error(self, fate: dict) -> dict:
        """Returns the fields of the error that a case describes."""
        fields = {name: value for name, value in fate.items() if name != "refuse"}
        fields["reason"] = error_pb2.Reason.Value(f"REASON_{fate['refuse']}")
        if "leader" in fields:
            fields["leader"] = self.replica(fields["leader"])
        if "owner" in fields:
            owner = dict(fields["owner"])
            owner["group_uid"] = 100 + owner["group"]
            owner["replicas"] = [self.replica(index) for index in owner["replicas"]]
            fields["owner"] = error_pb2.ShardOwner(**owner)
        return fields


def _start(store: FakeStore, index: int) -> tuple[grpc.Server, str]:
    # A dead server's port must not be another server's.
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    kv_pb2_grpc.add_KvServicer_to_server(_Server(store, index), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    return server, address


class _Server(kv_pb2_grpc.KvServicer):
    def __init__(self, store: FakeStore, index: int):
        self._store, self._index = store, index

    def GetShardMap(self, request, context):
        if not self._store.copies:
            refuse(context, error_pb2.REASON_UNAVAILABLE)
        return self._store.map()

    def OpenSession(self, request, context):
        return kv_pb2.OpenSessionResponse(session=self._store.open_session(request.after), ttl_ms=600_000)

    def Get(self, request, context):
        return self._store.handle(self._index, request, context)

    def Append(self, request, context):
        return self._store.handle(self._index, request, context)


class _Manager(shard_manager_pb2_grpc.ShardManagerServicer):
    def __init__(self, store: FakeStore):
        self._store = store

    def GetShardMap(self, request, context):
        return self._store.map()
