"""A call, from its first transmission to an answer, a clear error, or "outcome unknown"."""

import random
import time
from enum import Enum, auto
from typing import Any, NoReturn

from shardedkv.attempt import Attempt
from shardedkv.errors import (
    AlreadyApplied,
    ClerkError,
    NoAnswer,
    NoLeader,
    OutcomeUnknown,
    Refused,
    Unreachable,
    describe,
    is_refusal,
)
from shardedkv.group import Group, Member
from shardedkv.pauses import Backoff, left
from shardedkv.peer import Answered, Lost, NotSent, Overdue, Peer
from shardedkv.routing import Placement, Router
from shardedkv.sessions import After, Sessions, Ticket
from shardedkv.tried import Tried
from shardedkv.v1 import error_pb2 as e

# While a group has no leader its members are asked in turn, with a pause after each round: the
# election needs the processor more than we do.
ROUND = (0.020, 0.050)


class _Next(Enum):
    """The step after a transmission that has no final answer."""

    # Send it again at once: leader or owner are newly known, or the next member decides.
    AGAIN = auto()
    # Send it again a little later.
    PAUSE = auto()


class Call:
    """A call under way. Every transmission of a mutation carries the same request id."""

    def __init__(
        self, router: Router, sessions: Sessions, method: str, request: Any, deadline: float, attempt_timeout: float
    ):
        self._router = router
        self._sessions = sessions
        self._method = method
        self._request = request
        self._is_mutation = method != "Get"
        self._deadline = time.monotonic() + deadline
        self._attempt = Attempt(attempt_timeout, deadline)
        self._ticket: Ticket | None = None
        self._after = After()
        self._backoff = Backoff()
        # The last transmission that was refused.
        self._refused: e.Error | None = None
        # The first transmission of which nobody knows whether it arrived.
        self._lost: str | None = None
        # Why nothing could be sent.
        self._unsent = "no server is known"
        # The replicas of the key's group that didn't serve the call.
        self._tried: Tried | None = None

    def run(self) -> Any:
        """Ends in the answer, or raises a ClerkError."""
        try:
            return self._run()
        finally:
            self._finish_ticket()

    def _run(self) -> Any:
        while True:
            if self._router.closed:
                self._unsent = "the clerk was closed"
                self._give_up()
            placement = self._router.place(self._request.key)
            if placement is None:
                self._look_for_a_map()
                continue
            if self._is_mutation and self._ticket is None:
                self._ticket = self._sessions.ticket(placement, self._after, self._deadline)
            outcome = self._step(placement)
            if not isinstance(outcome, _Next):
                return outcome
            if outcome is _Next.PAUSE:
                self._sleep(self._backoff.next())
            if time.monotonic() + self._last_chance() >= self._deadline:
                self._give_up()

    def _look_for_a_map(self) -> None:
        self._router.refresh(self._attempt.time, self._deadline)
        self._unsent = f"no shard map yet: {self._router.trouble}"
        if time.monotonic() >= self._deadline:
            self._give_up()
        if self._router.place(self._request.key) is None:
            self._sleep(self._backoff.next())

    def _step(self, placement: Placement) -> Any:
        """Makes a transmission; returns its answer, or what comes next."""
        group, member, ends_round = self._router.choose(placement)
        if group is None or member is None:
            self._router.refresh(self._attempt.time, self._deadline)
            return self._forward(placement)
        outcome = self._ask(placement, group, member)
        leads_on = group.leader is not None or not self._router.is_owner(group, placement)
        if ends_round and outcome is _Next.AGAIN and not leads_on:
            # Also the addresses may be old.
            self._router.refresh(self._attempt.time, self._deadline)
            self._sleep(random.uniform(*ROUND))
            if self._never_sent():
                # As behind a port-forward: only some servers can be reached.
                return self._forward(placement)
        return outcome

    def _ask(self, placement: Placement, group: Group, member: Member) -> Any:
        try:
            answer = self._transmit(member.peer, placement, direct=True)
        except NotSent as failure:
            self._note(group, member, failure)
            self._router.failed(group, member)
            self._unsent = str(failure)
            return _Next.AGAIN
        except Lost as failure:
            self._note(group, member, failure)
            self._router.failed(group, member)
            self._transmission_lost(failure)
            return _Next.AGAIN
        except Answered as failure:
            self._note(group, member, failure)
            doubtful = (e.REASON_NOT_LEADER, e.REASON_WRONG_IDENTITY, e.REASON_UNAVAILABLE, e.REASON_INTERNAL)
            if failure.error.reason in doubtful:
                self._router.failed(group, member)
            outcome = self._after_error(failure.error)
            if _denies(failure.error) and self._router.is_owner(group, placement):
                # It knows nobody newer: it may lead no more, and not have heard of the shard's arrival.
                self._router.failed(group, member)
            return outcome
        self._router.worked(group, member)
        return answer

    def _forward(self, placement: Placement) -> Any:
        peer = self._router.forwarder()
        if peer is None:
            return _Next.PAUSE
        try:
            return self._transmit(peer, placement, direct=False)
        except NotSent as failure:
            self._unsent = str(failure)
        except Lost as failure:
            self._transmission_lost(failure)
        except Answered as failure:
            self._after_error(failure.error)
        return _Next.PAUSE

    def _transmit(self, peer: Peer, placement: Placement, direct: bool) -> Any:
        request = self._request
        request.cluster_id = placement.cluster
        request.direct = direct
        if self._ticket is not None:
            request.id.CopyFrom(self._ticket.request_id())
        timeout = max(0.001, min(self._attempt.time, left(self._deadline)))
        return peer.call(getattr(peer.kv, self._method), request, timeout)

    def _note(self, group: Group, member: Member, failure: NotSent | Lost | Answered) -> None:
        # What another group said, which had the shard before, is of no interest any more.
        if self._tried is None or self._tried.group is not group:
            self._tried = Tried(group)
        self._tried.failed(member, failure)

    def _transmission_lost(self, failure: Lost) -> None:
        self._lost = self._lost or str(failure)
        if isinstance(failure, Overdue):
            self._attempt.unanswered()

    def _after_error(self, error: e.Error) -> _Next:
        if error.reason == e.REASON_ALREADY_APPLIED:
            raise AlreadyApplied(error.revision)
        if not is_refusal(error):
            self._lost = self._lost or describe(error)
            return _Next.PAUSE
        self._refused = error
        match error.reason:
            case e.REASON_NOT_LEADER if error.HasField("leader"):
                self._router.learn_leader(error.group, error.leader, error.term)
                return _Next.AGAIN
            case e.REASON_WRONG_GROUP | e.REASON_SHARD_MOVING:
                if error.HasField("owner") and self._router.learn_owner(error.owner):
                    return _Next.AGAIN
                self._router.refresh(self._attempt.time, self._deadline)
                return _Next.PAUSE
            case e.REASON_WRONG_IDENTITY:
                self._router.refresh(self._attempt.time, self._deadline)
                return _Next.PAUSE
            case e.REASON_SESSION_EXPIRED:
                return self._session_refused(error.floor)
            case e.REASON_CLOCK_SKEW:
                # The group's time goes on; a session may only be changed if nothing was sent under it.
                return self._session_refused(0) if self._lost is None else _Next.PAUSE
            case e.REASON_NOT_LEADER | e.REASON_UNAVAILABLE:
                # The next member, or the group itself, decides.
                return _Next.AGAIN
            case e.REASON_OVERLOADED | e.REASON_DISK_FULL | e.REASON_MEMORY_FULL:
                return _Next.PAUSE
            case _:
                self._give_up()

    def _session_refused(self, floor: int) -> _Next:
        """The session isn't accepted. Under a new one the request is another one: only right if none of
        its transmissions can have been applied. A read has none that could be replaced."""
        if self._lost is not None or self._ticket is None:
            self._give_up()
        is_first = self._after.refused is None
        self._after = After(self._ticket.session.id, max(self._after.floor, floor))
        self._finish_ticket()
        return _Next.AGAIN if is_first else _Next.PAUSE

    def _finish_ticket(self) -> None:
        if self._ticket is not None:
            self._ticket.finish()
            self._ticket = None

    def _never_sent(self) -> bool:
        return self._refused is None and self._lost is None

    def _last_chance(self) -> float:
        """Returns the time that must be left for another transmission. A mutation that was surely not applied
        stays so if there is hardly time for an answer."""
        surely_not_applied = self._refused is not None and self._lost is None
        if surely_not_applied and self._is_mutation:
            return self._attempt.time
        return 0.0

    def _sleep(self, pause: float) -> None:
        time.sleep(min(pause, left(self._deadline)))

    def _give_up(self) -> NoReturn:
        """Raises the error that says what is known when there is no answer."""
        raise self._verdict()

    def _verdict(self) -> ClerkError:
        lost = self._lost
        if lost is not None and self._tried is not None and self._tried.hear_no_leader():
            lost = f"{lost}; {self._tried}"
        if lost is not None and self._is_mutation:
            return OutcomeUnknown(lost)
        if lost is not None:
            return NoAnswer(lost)
        if self._refused is not None:
            no_leader = self._refused.reason in (e.REASON_NOT_LEADER, e.REASON_UNAVAILABLE)
            if no_leader and self._tried is not None:
                return NoLeader(self._refused, str(self._tried))
            return Refused(self._refused)
        return Unreachable(self._unsent if self._tried is None else self._tried.words())


def _denies(error: e.Error) -> bool:
    """Returns true if the group says that it doesn't have the shard."""
    is_moving = error.reason == e.REASON_SHARD_MOVING and error.HasField("owner")
    return is_moving or error.reason == e.REASON_WRONG_GROUP
