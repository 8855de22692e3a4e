"""Calls of clerks as a history for the checker: a line of JSON each, as `crates/checker` reads it."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from shardedkv import AlreadyApplied, Clerk, ClerkError, NoAnswer, OutcomeUnknown


class History:
    """The calls of all clients, by one clock."""

    def __init__(self) -> None:
        self._started = time.monotonic_ns()
        self._lock = threading.Lock()
        self._events: list[dict] = []

    def now(self) -> int:
        """Returns the nanoseconds since the history began."""
        return time.monotonic_ns() - self._started

    def add(self, event: dict) -> None:
        """Adds a call that has ended."""
        with self._lock:
            self._events.append(event)

    def outcomes(self) -> Counter:
        """Returns the number of calls of each outcome."""
        with self._lock:
            return Counter(event["outcome"] for event in self._events)

    def write(self, path: Path) -> Path:
        """Writes it to a file, which it returns."""
        with self._lock:
            path.write_text("".join(json.dumps(event) + "\n" for event in self._events))
        return path


class RecordedClerk:
    """A clerk of one client, whose calls are recorded whatever their outcome. A client makes one call at a time."""

    def __init__(self, client: int, clerk: Clerk, history: History):
        self.client = client
        self._clerk, self._history = clerk, history

    def get(self, key: str) -> int | None:
        """Reads a key. Returns its revision, if there is an answer."""
        return self._call("get", key, {}, lambda: self._clerk.get(key), _got)

    def put(self, key: str, value: str, if_revision: int | None = None) -> int | None:
        """Sets a key to a value, under a condition if there is one."""
        asked = {"value": value} | ({} if if_revision is None else {"if_revision": if_revision})
        return self._call("put", key, asked, lambda: self._clerk.put(key, value, if_revision=if_revision), _decided)

    def append(self, key: str, value: str) -> int | None:
        """Adds to the end of a key's value."""
        return self._call("append", key, {"value": value}, lambda: self._clerk.append(key, value), _appended)

    def delete(self, key: str) -> int | None:
        """Removes a key."""
        return self._call("delete", key, {}, lambda: self._clerk.delete(key), _deleted)

    def _call(self, op: str, key: str, asked: dict, call: Callable, answered: Callable) -> int | None:
        event = {"client": self.client, "op": op, "key": key, **asked, "call_ns": self._history.now()}
        try:
            end = {"outcome": "ok", **answered(call())}
        except AlreadyApplied as answer:
            end = {"outcome": "ok", "revision": answer.revision}
        except (OutcomeUnknown, NoAnswer):
            end = {"outcome": "unknown"}
        except ClerkError:
            end = {"outcome": "refused"}
        self._history.add({**event, **end, "return_ns": self._history.now()})
        return end.get("revision")


def _got(answer) -> dict:
    return {"output": answer.value.decode(), "found": answer.found, "revision": answer.revision}


def _appended(answer) -> dict:
    return {"output": answer.old_value.decode(), "found": answer.found, "revision": answer.revision}


def _decided(answer) -> dict:
    return {"success": answer.success, "revision": answer.revision}


def _deleted(answer) -> dict:
    return {"success": answer.success, "found": answer.found, "revision": answer.revision}
