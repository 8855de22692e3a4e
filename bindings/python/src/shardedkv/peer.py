"""A server or shard manager, and the connection to it."""

import time
from collections.abc import Callable
from typing import Any

import grpc

from shardedkv.errors import describe, typed
from shardedkv.v1 import error_pb2, kv_pb2_grpc, shard_manager_pb2_grpc

# The same as the servers'.
MESSAGE_LIMIT = 64 << 20

_NOBODY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class Answered(Exception):
    """The server said no, and why."""

    def __init__(self, error: error_pb2.Error):
        super().__init__(describe(error))
        self.error = error


class NotSent(Exception):
    """There was no connection: the request never left."""


class Lost(Exception):
    """Nobody knows whether the request arrived."""


class Overdue(Lost):
    """The same: the server left it unanswered for as long as the attempt may take."""


def open_channel(address: str) -> grpc.Channel:
    """A connection that is made again soon after it broke, and never sends anything twice."""
    options = [
        ("grpc.enable_retries", 0),
        # A store is next door; a proxy for the web doesn't know the way. As the other clients have it.
        ("grpc.enable_http_proxy", 0),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 500),
        # In spite of its name this is the time for an attempt: on slow networks one takes seconds.
        ("grpc.min_reconnect_backoff_ms", 10_000),
        # A name may lead elsewhere once its server can't be reached.
        ("grpc.dns_min_time_between_resolutions_ms", 1000),
        ("grpc.max_receive_message_length", MESSAGE_LIMIT),
        ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ]
    if authority(address) != address:
        options.append(("grpc.default_authority", authority(address)))
    return grpc.insecure_channel(address, options)


def authority(address: str) -> str:
    """Returns the name by which requests call a server. A final dot, which marks a complete name, is for
    lookups only: neither proxies nor certificates have it."""
    host, port = address.rsplit(":", 1)
    return f"{host.rstrip('.')}:{port}"


class Peer:
    """Calls a server; each failure says whether the request can have arrived."""

    def __init__(self, address: str, channel: grpc.Channel):
        self.address = address
        self.kv = kv_pb2_grpc.KvStub(channel)
        self.manager = shard_manager_pb2_grpc.ShardManagerStub(channel)
        self._ask_health = channel.unary_unary("/grpc.health.v1.Health/Check")
        self._channel = channel
        self._connected = False

    def call(self, method: Callable[..., Any], request: Any, timeout: float) -> Any:
        """Sends a request once."""
        expires = time.monotonic() + timeout
        if not self._connected:
            self._connect(timeout)
        try:
            return method(request, timeout=max(expires - time.monotonic(), 0.001))
        except ValueError:
            # So says a channel that was closed.
            raise NotSent("the clerk was closed") from None
        except grpc.RpcError as failure:
            error = typed(failure)
            if error is not None:
                raise Answered(error) from None
            if failure.code() == grpc.StatusCode.UNIMPLEMENTED:
                error = error_pb2.Error(reason=error_pb2.REASON_UNIMPLEMENTED)
                error.message = f"{self.address}: {failure.details()}"
                raise Answered(error) from None
            # Not said by a server of ours, so by the connection.
            self._connected = False
            if failure.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise Overdue(f"{self.address} did not answer in time") from None
            raise Lost(f"{self.address}: {failure.details()}") from None

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def _connect(self, timeout: float) -> None:
        """A question that changes nothing tells a server that isn't there from one that doesn't answer."""
        try:
            self._ask_health(b"", timeout=timeout)
        except ValueError:
            raise NotSent("the clerk was closed") from None
        except grpc.RpcError as failure:
            if failure.code() in _NOBODY:
                raise NotSent(f"{self.address}: {failure.details()}") from None
        self._connected = True
