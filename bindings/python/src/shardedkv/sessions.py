"""The clerk's exactly-once identity: sessions, opened when the first mutation needs one, and the
sequence numbers of their mutations."""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass

from shardedkv.errors import Refused, Unreachable
from shardedkv.pauses import Backoff, left
from shardedkv.peer import Answered, Lost, NotSent
from shardedkv.routing import Placement, Router
from shardedkv.v1 import error_pb2, kv_pb2
from shardedkv.window import WINDOW, Window


class Session:
    """A session. Its sequence numbers count per shard or, while the shards aren't known, for all keys."""

    def __init__(self, identity: kv_pb2.SessionId, ttl: float, shards: int):
        self.id = identity
        # The number of shards; 0 = not known.
        self.shards = shards
        self._ttl = ttl
        self._opened = time.monotonic()
        self._windows: defaultdict[int, Window] = defaultdict(Window)
        self._changed = threading.Condition()

    def is_young(self) -> bool:
        """After half of the time for which servers surely know it, the next one is due."""
        return time.monotonic() - self._opened <= self._ttl / 2

    def is_over(self) -> bool:
        """Servers may have forgotten it."""
        return time.monotonic() - self._opened > self._ttl

    def ticket(self, shard: int, deadline: float) -> "Ticket":
        """A place for one mutation; waits while too many of the shard are outstanding."""
        with self._changed:
            window = self._windows[shard]
            while (seq := window.begin()) is None:
                if not self._changed.wait(left(deadline)):
                    error = error_pb2.Error(reason=error_pb2.REASON_WINDOW_EXCEEDED)
                    error.message = f"{WINDOW} mutations of shard {shard} are outstanding"
                    raise Refused(error)
        return Ticket(self, shard, seq)

    def acked_below(self, shard: int) -> int:
        """Up to there the clerk has the answers of all of the shard's mutations."""
        with self._changed:
            return self._windows[shard].acked_below

    def finish(self, shard: int, seq: int) -> None:
        """A mutation has its final answer, or is given up."""
        with self._changed:
            self._windows[shard].finish(seq)
            self._changed.notify_all()


@dataclass(frozen=True)
class Ticket:
    """A mutation's place in a session. It must be finished: a late transmission is refused then."""

    session: Session
    shard: int
    seq: int

    def request_id(self) -> kv_pb2.RequestId:
        """The id to send now."""
        acked_below = self.session.acked_below(self.shard)
        return kv_pb2.RequestId(session=self.session.id, seq=self.seq, acked_below=acked_below)

    def finish(self) -> None:
        """The mutation has its final answer, or is given up."""
        self.session.finish(self.shard, self.seq)


@dataclass(frozen=True)
class After:
    """The bound that a session must be newer than."""

    # The last one that wasn't accepted. Those before it don't come back: the clerk uses one session
    # after the other.
    refused: kv_pb2.SessionId | None = None
    # Sessions opened until then aren't accepted.
    floor: int = 0

    def accepts(self, session: Session) -> bool:
        """Returns true if the session may be used."""
        return session.id != self.refused and session.id.opened_at > self.floor


class Sessions:
    """The session that new mutations use. May be used by many threads."""

    def __init__(self, router: Router, attempt_timeout: float):
        self._router = router
        self._attempt_timeout = attempt_timeout
        self._current: Session | None = None
        self._opening = threading.Lock()

    def ticket(self, placement: Placement, after: After, deadline: float) -> Ticket:
        """A place for one mutation."""
        session = self._usable(placement, after)
        if session is None:
            if not self._opening.acquire(timeout=left(deadline)):
                raise Unreachable("no session was opened in time")
            try:
                session = self._usable(placement, after) or self._open(placement, after, deadline)
            finally:
                self._opening.release()
        elif not session.is_young() and self._opening.acquire(blocking=False):
            # Servers forget sessions that are old; the calls of this one should have ended by then.
            try:
                patience = min(self._attempt_timeout, left(deadline) / 2)
                session = self._open(placement, after, time.monotonic() + patience)
            except (Refused, Unreachable):
                pass  # It still does.
            finally:
                self._opening.release()
        return session.ticket(placement.shard, deadline)

    def _usable(self, placement: Placement, after: After) -> Session | None:
        session = self._current
        if session is None or session.shards != placement.shards or session.is_over():
            return None
        return session if after.accepts(session) else None

    def _open(self, placement: Placement, after: After, deadline: float) -> Session:
        """Any server can open a session; those of the owning group have the clock that suits best."""
        backoff = Backoff()
        error: Refused | Unreachable = Unreachable("no server is known")
        request = kv_pb2.OpenSessionRequest(after=after.floor)
        while not self._router.closed:
            for peer in self._router.servers(placement):
                if left(deadline) == 0:
                    break
                try:
                    # One that is silent leaves time for the next.
                    timeout = min(self._attempt_timeout, left(deadline) / 2)
                    answer = peer.call(peer.kv.OpenSession, request, timeout)
                except Answered as refusal:
                    error = Refused(refusal.error)
                    continue
                except (NotSent, Lost) as failure:
                    error = Unreachable(str(failure))
                    continue
                session = Session(answer.session, answer.ttl_ms / 1000, placement.shards)
                if after.accepts(session):
                    self._current = session
                    return session
                error = Unreachable(f"{peer.address} opened no new session")
            time.sleep(min(backoff.next(), left(deadline)))
            if left(deadline) == 0:
                raise error
        raise Unreachable("the clerk was closed")
