"""The reasons why a call has no answer, and the typed error that servers send."""

from enum import IntEnum

import grpc
from google.rpc import status_pb2

from shardedkv.v1 import error_pb2

_DETAILS = "grpc-status-details-bin"
# The words before the message of an error of these reasons; other messages say it themselves.
_TITLES = {
    error_pb2.REASON_OVERLOADED: "overloaded",
    error_pb2.REASON_DISK_FULL: "disk full",
    error_pb2.REASON_MEMORY_FULL: "memory full",
    error_pb2.REASON_UNAVAILABLE: "unavailable",
    error_pb2.REASON_WRONG_IDENTITY: "meant for somebody else",
    error_pb2.REASON_UNSUPPORTED_VERSION: "unsupported version",
    error_pb2.REASON_UNIMPLEMENTED: "not offered",
    error_pb2.REASON_OUTCOME_UNKNOWN: "outcome unknown",
    error_pb2.REASON_INTERNAL: "internal error",
}

Reason = IntEnum("Reason", [(name.removeprefix("REASON_"), number) for name, number in error_pb2.Reason.items()])
Reason.__doc__ = """Why a server refused: as in error.proto, which says what each means."""


class ClerkError(Exception):
    """A call has no answer. Only OutcomeUnknown leaves open whether a mutation was applied."""

    def __reduce__(self):
        """For other processes: they get the same text, which isn't made again from its parts."""
        return _restore, (type(self), self.args, self.__dict__)


class Invalid(ClerkError, ValueError):
    """The options or the call can't be right; nothing was sent."""


class Refused(ClerkError):
    """Every transmission was refused: the call was never applied and never will be."""

    def __init__(self, error: error_pb2.Error):
        super().__init__(f"refused: {describe(error)}")
        try:
            self.reason = Reason(error.reason)
        except ValueError:
            self.reason = Reason.UNSPECIFIED


class NoLeader(Refused):
    """No replica of the key's group serves, as those say that could be asked. The call was never applied
    and never will be."""

    def __init__(self, error: error_pb2.Error, tried: str):
        super().__init__(error)
        self.args = (tried,)


class Unreachable(ClerkError):
    """No server could be reached before the deadline; nothing was sent."""

    def __init__(self, why: str):
        super().__init__(
            f"no server could be reached: {why}; are the servers running, and is the address right?"
        )


class OutcomeUnknown(ClerkError):
    """The mutation may have been applied, or may be later. Read the key to find out."""

    def __init__(self, why: str):
        super().__init__(f"outcome unknown: the request may have been applied, or may be later ({why})")


class AlreadyApplied(ClerkError):
    """The mutation was applied, once, and its answer is no longer kept."""

    def __init__(self, revision: int):
        super().__init__(f"applied as revision {revision}; the answer is no longer kept")
        self.revision = revision


class NoAnswer(ClerkError):
    """A read found no answer before its deadline."""

    def __init__(self, why: str):
        super().__init__(f"no answer before the deadline ({why})")


def _restore(kind: type[ClerkError], args: tuple, state: dict) -> ClerkError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def is_refusal(error: error_pb2.Error) -> bool:
    """Returns true if this transmission was never applied and never will be.

    A reason that we don't know promises nothing.
    """
    known = error.reason in error_pb2.Reason.values()
    return known and error_pb2.REASON_UNSPECIFIED < error.reason < error_pb2.REASON_OUTCOME_UNKNOWN


def describe(error: error_pb2.Error) -> str:
    """Returns the error in words."""
    title = _TITLES.get(error.reason)
    return error.message if title is None else f"{title}: {error.message}"


def typed(failure: grpc.RpcError) -> error_pb2.Error | None:
    """The error that one of our servers sent; `None` if somebody else speaks, such as the connection."""
    trailers = failure.trailing_metadata() or ()
    details = next((value for name, value in trailers if name == _DETAILS), None)
    if details is None:
        return None
    for detail in status_pb2.Status.FromString(details).details:
        if detail.Is(error_pb2.Error.DESCRIPTOR):
            return error_pb2.Error.FromString(detail.value)
    return None
