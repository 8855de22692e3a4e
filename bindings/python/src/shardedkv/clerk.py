"""The clerk: the handle that applications call."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from shardedkv.answers import AppendAnswer, DeleteAnswer, GetAnswer, PutAnswer
from shardedkv.call import Call
from shardedkv.errors import Invalid
from shardedkv.peer import MESSAGE_LIMIT, open_channel
from shardedkv.routing import Router
from shardedkv.sessions import Sessions
from shardedkv.v1 import kv_pb2

# The rough size of a request's envelope.
ENVELOPE = 64
# The largest request, as of the clerk in Rust, whose requests share messages.
LARGEST = MESSAGE_LIMIT // 2

# What keys and values are made of.
Data = bytes | str | bytearray | memoryview

_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/?#@\[\]]+):([0-9]{1,5})")


@dataclass(frozen=True)
class Options:
    """The settings of a clerk; times are in seconds."""

    # The time after which a call is given up.
    deadline: float = 10.0
    # The time that a transmission may stay unanswered before the call is sent again. Doubles with each
    # second transmission of the same call that overran it. Half of the deadline at most.
    attempt_timeout: float = 1.0
    # The maker of connections.
    connect: Callable[[str], grpc.Channel] = open_channel

    def __post_init__(self) -> None:
        for name in ("deadline", "attempt_timeout"):
            # Not a number is no time either.
            if not getattr(self, name) > 0:
                raise Invalid(f"{name} is {getattr(self, name)}; it is a number of seconds above 0")


class Clerk:
    """A linearizable, exactly-once handle to a store. Many threads may use one.

    `managers` are the addresses of shard managers, `servers` client addresses of some servers, each
    `HOST:PORT`; one of either is enough. A call ends in an answer or a `ClerkError`, of which only
    `OutcomeUnknown` leaves open whether a mutation was applied. Text is stored as UTF-8.
    """

    def __init__(
        self, *, managers: Sequence[str] = (), servers: Sequence[str] = (), options: Options | None = None
    ):
        for name, addresses in (("managers", managers), ("servers", servers)):
            if isinstance(addresses, str):
                raise Invalid(f"{name} is a list of addresses: write {name}=[{addresses!r}]")
        if not managers and not servers:
            raise Invalid("the clerk was given no address to ask")
        for address in [*managers, *servers]:
            parts = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
            if parts is None or int(parts[1]) > 65535:
                raise Invalid(f"{address!r} is not an address of the form HOST:PORT")
        self._process = os.getpid()
        self._options = options or Options()
        self._router = Router(self._options.connect, list(managers), list(servers))
        self._sessions = Sessions(self._router, self._options.attempt_timeout)

    def get(self, key: Data) -> GetAnswer:
        """Reads a key: sees every write that was answered before this call began."""
        answer = self._call("Get", kv_pb2.GetRequest(key=_bytes("key", key)))
        return GetAnswer(answer.value, answer.found, answer.revision)

    def put(self, key: Data, value: Data, *, if_revision: int | None = None) -> PutAnswer:
        """Sets a key to a value: with `if_revision` only if it has that; 0 = if there is no such key."""
        request = kv_pb2.PutRequest(
            key=_bytes("key", key), value=_bytes("value", value), if_revision=_revision(if_revision)
        )
        answer = self._call("Put", request)
        return PutAnswer(answer.success, answer.revision)

    def append(self, key: Data, args: Data) -> AppendAnswer:
        """Adds to the end of a key's value; a missing key counts as empty."""
        answer = self._call("Append", kv_pb2.AppendRequest(key=_bytes("key", key), args=_bytes("args", args)))
        return AppendAnswer(answer.old_value, answer.found, answer.revision)

    def delete(self, key: Data, *, if_revision: int | None = None) -> DeleteAnswer:
        """Removes a key: with `if_revision` only if it has that; 0 = succeeds only if there is no such key."""
        request = kv_pb2.DeleteRequest(key=_bytes("key", key), if_revision=_revision(if_revision))
        answer = self._call("Delete", request)
        return DeleteAnswer(answer.success, answer.found, answer.revision)

    def close(self) -> None:
        """Ends all connections, and the calls of other threads. Later calls raise `Invalid`."""
        # After a fork the connections are those of the process that made them.
        if os.getpid() == self._process:
            self._router.close()

    def __enter__(self) -> "Clerk":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method, request):
        # Two processes under one session would use the same numbers for different mutations.
        if os.getpid() != self._process:
            raise Invalid("a clerk belongs to the process that made it: make one in each")
        if self._router.closed:
            raise Invalid("the clerk was closed")
        size = request.ByteSize() + ENVELOPE
        if size > LARGEST:
            raise Invalid(f"key and value have {size} bytes; a request can carry {LARGEST}")
        options = self._options
        call = Call(self._router, self._sessions, method, request, options.deadline, options.attempt_timeout)
        return call.run()


def _bytes(name: str, data: Data) -> bytes:
    """A missing value must not become an empty one: that would overwrite what the key has."""
    match data:
        case bytes():
            return data
        case str():
            try:
                return data.encode()
            except UnicodeEncodeError as error:
                raise Invalid(f"{name} can't be stored as UTF-8: {error}") from None
        case bytearray() | memoryview():
            return bytes(data)
    raise TypeError(f"{name} is bytes or text, not {type(data).__name__}")


def _revision(revision: int | None) -> int | None:
    if revision is None:
        return None
    if not isinstance(revision, int) or isinstance(revision, bool):
        raise TypeError(f"if_revision is a number, not {type(revision).__name__}")
    if not 0 <= revision < 1 << 64:
        raise Invalid(f"{revision} is no revision: the lowest is 0, for a key that isn't there")
    return revision
