"""The clerk: the handle that applications call."""

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

_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/?#@\[\]]+):([0-9]{1,5})")


@dataclass(frozen=True)
class Options:
    """The settings of a clerk; times are in seconds."""

    # The time after which a call is given up.
    deadline: float = 10.0
    # The time that a transmission may stay unanswered before the call is sent again. Doubles with each
    # transmission of the same call that overran it.
    attempt_timeout: float = 1.0
    # The maker of connections.
    connect: Callable[[str], grpc.Channel] = open_channel


class Clerk:
    """A linearizable, exactly-once handle to a store. Many threads may use one.

    `managers` are the addresses of shard managers, `servers` client addresses of some servers, each
    `HOST:PORT`; one of either is enough. A call ends in an answer or a `ClerkError`, of which only
    `OutcomeUnknown` leaves open whether a mutation was applied. Text is stored as UTF-8.
    """

    def __init__(
        self, *, managers: Sequence[str] = (), servers: Sequence[str] = (), options: Options | None = None
    ):
        if not managers and not servers:
            raise Invalid("the clerk was given no address to ask")
        for address in [*managers, *servers]:
            parts = _ADDRESS.fullmatch(address)
            if parts is None or int(parts[1]) > 65535:
                raise Invalid(f"{address!r} is not an address of the form HOST:PORT")
        self._options = options or Options()
        self._router = Router(self._options.connect, list(managers), list(servers))
        self._sessions = Sessions(self._router, self._options.attempt_timeout)

    def get(self, key: bytes | str) -> GetAnswer:
        """Reads a key: sees every write that was answered before this call began."""
        answer = self._call("Get", kv_pb2.GetRequest(key=_bytes(key)))
        return GetAnswer(answer.value, answer.found, answer.revision)

    def put(self, key: bytes | str, value: bytes | str, *, if_revision: int | None = None) -> PutAnswer:
        """Sets a key to a value: with `if_revision` only if it has that; 0 = if there is no such key."""
        request = kv_pb2.PutRequest(key=_bytes(key), value=_bytes(value), if_revision=if_revision)
        answer = self._call("Put", request)
        return PutAnswer(answer.success, answer.revision)

    def append(self, key: bytes | str, args: bytes | str) -> AppendAnswer:
        """Adds to the end of a key's value; a missing key counts as empty."""
        answer = self._call("Append", kv_pb2.AppendRequest(key=_bytes(key), args=_bytes(args)))
        return AppendAnswer(answer.old_value, answer.found, answer.revision)

    def delete(self, key: bytes | str, *, if_revision: int | None = None) -> DeleteAnswer:
        """Removes a key: with `if_revision` only if it has that; 0 = succeeds only if there is no such key."""
        answer = self._call("Delete", kv_pb2.DeleteRequest(key=_bytes(key), if_revision=if_revision))
        return DeleteAnswer(answer.success, answer.found, answer.revision)

    def close(self) -> None:
        """Ends all connections."""
        self._router.close()

    def __enter__(self) -> "Clerk":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method, request):
        size = request.ByteSize() + ENVELOPE
        if size > LARGEST:
            raise Invalid(f"key and value have {size} bytes; a request can carry {LARGEST}")
        options = self._options
        call = Call(self._router, self._sessions, method, request, options.deadline, options.attempt_timeout)
        return call.run()


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text
