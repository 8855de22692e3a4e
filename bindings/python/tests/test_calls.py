"""The rules of a call, against servers that misbehave on demand."""

import socket
import threading
import time

import grpc
import pytest
from conftest import NEVER
from fake_server import CLUSTER, FakeServer, refuse

from shardedkv import (
    AlreadyApplied,
    Clerk,
    ClerkError,
    Invalid,
    NoLeader,
    Options,
    OutcomeUnknown,
    Reason,
    Refused,
    Unreachable,
)
from shardedkv.routing import BLIND, Router
from shardedkv.sessions import After, Sessions
from shardedkv.v1 import common_pb2, error_pb2

HASTY = Options(deadline=2.0, attempt_timeout=0.3)


@pytest.fixture
def other():
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture
def clerk(server):
    with Clerk(servers=[server.address], options=HASTY) as clerk:
        yield clerk


def refusal(reason, **fields):
    return lambda request, context: refuse(context, reason, **fields)


def silence(request, context):
    """Longer than any attempt waits. What comes then, nobody hears."""
    time.sleep(0.5)


def breaks(request, context):
    """As a proxy does whose server is gone."""
    context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


def ids(requests):
    return [(request.id.session.random, request.id.seq) for request in requests]


def test_each_mutation_has_a_number_of_its_own_and_says_which_answers_came(server, clerk):
    for key in ["1", "1", "2"]:
        clerk.append(key, "x")
    assert ids(server.applied) == [(1, 1), (1, 2), (1, 1)]
    assert [request.id.acked_below for request in server.applied] == [1, 2, 1]
    assert all(request.cluster_id == CLUSTER and request.direct for request in server.applied)


def test_a_lost_answer_is_asked_for_again_under_the_same_id(server, clerk):
    server.answers = [silence, breaks]
    clerk.append("1", "x")
    assert len(server.asked) == 3
    assert set(ids(server.asked)) == {(1, 1)}


def test_only_silence_gives_the_next_transmission_more_time(server, clerk):
    # Twice the time for each of those would be enough for the answer that comes too late.
    server.answers = [breaks] * 6 + [silence]
    clerk.append("1", "x")
    assert len(server.asked) == 8


class Late(grpc.RpcError):
    """The failure of a call to somebody who keeps silent."""

    def code(self):
        return grpc.StatusCode.DEADLINE_EXCEEDED

    def details(self):
        return "late"

    def trailing_metadata(self):
        return ()


class SilentChannel:
    """A connection to a server that accepts and never answers; but nobody has to wait for that."""

    def __init__(self):
        self.timeouts = []

    def unary_unary(self, *_, **__):
        def call(request, timeout):
            self.timeouts.append(timeout)
            raise Late

        return call

    unary_stream = stream_stream = unary_unary

    def close(self):
        pass


def test_nothing_is_waited_for_longer_than_the_deadline():
    channel = SilentChannel()
    options = Options(deadline=0.2, attempt_timeout=60.0, connect=lambda address: channel)
    with Clerk(managers=["h:1"], servers=["h:2"], options=options) as clerk:
        with pytest.raises(Unreachable):
            clerk.append("1", "x")
    assert channel.timeouts and max(channel.timeouts) <= 0.2


def test_a_manager_that_accepts_and_keeps_silent_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        with Clerk(managers=[f"{host}:{port}"], options=Options(deadline=0.3)) as clerk:
            with pytest.raises(Unreachable, match="no shard map yet"):
                clerk.get("1")


def in_thread(function):
    """Runs this in a thread that may hang; returns the ClerkError with which it ends."""
    errors = []

    def run():
        try:
            function()
        except ClerkError as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(NEVER)
    assert errors, "it hangs, or has no error"
    return errors[0]


def test_a_call_waits_for_others_no_longer_than_its_deadline(server):
    with Clerk(servers=[server.address], options=Options(deadline=0.2)) as clerk:
        with clerk._router._refreshing:
            assert isinstance(in_thread(lambda: clerk.get("1")), Unreachable)
        clerk._router.refresh(NEVER, time.monotonic() + NEVER)
        with clerk._sessions._opening:
            assert isinstance(in_thread(lambda: clerk.append("1", "x")), Unreachable)


def test_without_servers_no_session_is_waited_for_longer_than_the_deadline():
    sessions = Sessions(Router(lambda address: SilentChannel(), [], []), 1.0)
    assert isinstance(in_thread(lambda: sessions.ticket(BLIND, After(), time.monotonic() + 0.1)), Unreachable)


def test_a_session_that_expired_before_anything_was_sent_is_replaced(server, clerk):
    server.answers = [refusal(error_pb2.REASON_SESSION_EXPIRED, floor=5000)]
    clerk.append("1", "x")
    assert ids(server.applied) == [(2, 1)]
    assert server.applied[0].id.session.opened_at > 5000


def test_a_session_that_expired_after_a_lost_transmission_leaves_the_outcome_open(server, clerk):
    server.answers = [breaks, refusal(error_pb2.REASON_SESSION_EXPIRED, floor=5000)]
    with pytest.raises(OutcomeUnknown):
        clerk.append("1", "x")
    assert server.applied == []
    # The next call isn't kept from anything.
    clerk.append("1", "y")
    assert [request.args for request in server.applied] == [b"y"]


def test_a_session_from_the_future_is_replaced(server, clerk):
    server.answers = [refusal(error_pb2.REASON_CLOCK_SKEW)]
    clerk.append("1", "x")
    assert ids(server.applied) == [(2, 1)]


def test_who_leads_is_learned_from_a_follower(server, other, clerk):
    server.answers = [refusal(error_pb2.REASON_NOT_LEADER, group=0, term=2, leader=other.replica(2))]
    clerk.append("1", "x")
    clerk.append("1", "y")
    assert (len(server.asked), len(other.applied)) == (1, 2)
    assert {request.id.session.random for request in other.applied} == {1}


def test_a_new_owner_is_learned_only_from_a_higher_epoch(server, other, clerk):
    def owner(epoch):
        return error_pb2.ShardOwner(shard=1, group=1, group_uid=101, epoch=epoch, replicas=[other.replica(2)])

    server.answers = [
        refusal(error_pb2.REASON_WRONG_GROUP, owner=owner(5)),
        refusal(error_pb2.REASON_SHARD_MOVING, owner=owner(6)),
    ]
    clerk.append("1", "x")
    assert (len(server.asked), len(other.applied)) == (2, 1)
    clerk.append("2", "y")
    assert len(server.applied) == 1, "other shards stay where they were"


def test_what_is_refused_for_good_is_told_at_once(server, clerk):
    server.answers = [refusal(error_pb2.REASON_INVALID_ARGUMENT)]
    with pytest.raises(Refused) as refused:
        clerk.append("1", "x")
    assert refused.value.reason == Reason.INVALID_ARGUMENT
    assert len(server.asked) == 1


def test_what_is_refused_until_the_deadline_was_never_applied(server, clerk):
    server.answers = [refusal(error_pb2.REASON_OVERLOADED)] * 1000
    with pytest.raises(Refused) as refused:
        clerk.append("1", "x")
    assert refused.value.reason == Reason.OVERLOADED
    assert server.applied == []


def test_an_answer_that_is_no_longer_kept_is_told_with_its_revision(server, clerk):
    server.answers = [refusal(error_pb2.REASON_ALREADY_APPLIED, revision=9)]
    with pytest.raises(AlreadyApplied) as applied:
        clerk.append("1", "x")
    assert applied.value.revision == 9


def test_a_lost_transmission_leaves_the_outcome_open_whatever_is_refused_later(server, clerk):
    server.answers = [breaks] + [refusal(error_pb2.REASON_OVERLOADED)] * 1000
    with pytest.raises(OutcomeUnknown):
        clerk.append("1", "x")


def test_without_a_server_nothing_was_sent(server, clerk):
    server.stop()
    with pytest.raises(Unreachable, match="no server could be reached: "):
        clerk.append("1", "x")


def test_without_a_majority_the_error_says_what_became_of_each_replica(server, clerk):
    dead = common_pb2.Replica(id=3, server="gone", client_address="127.0.0.1:1")
    server.groups[0].replicas.insert(0, dead)
    server.answers = [refusal(error_pb2.REASON_NOT_LEADER)] * 1000
    with pytest.raises(NoLeader) as failure:
        clerk.append("1", "x")
    text = str(failure.value)
    assert text.startswith("no replica of group g0 serves: ")
    assert "gone at 127.0.0.1:1 can't be reached (" in text
    assert f"{server.address} says that it hears no leader" in text
    assert "a majority of the group is needed" in text
    assert failure.value.reason == Reason.NOT_LEADER


def test_members_that_can_not_be_reached_are_passed_by(server, clerk):
    unreachable = common_pb2.Replica(id=3, server="gone", client_address="127.0.0.1:1")
    server.groups[0].replicas.insert(0, unreachable)
    clerk.append("1", "x")
    assert len(server.applied) == 1


def test_where_only_some_server_can_be_reached_it_is_asked_to_pass_the_call_on(server, clerk):
    del server.groups[0].replicas[:]
    server.groups[0].replicas.add(id=3, server="hidden", client_address="127.0.0.1:1")
    clerk.append("1", "x")
    assert [request.direct for request in server.applied] == [False]


def test_what_can_not_be_right_is_told_without_a_server(server, clerk):
    with pytest.raises(Invalid, match="no address"):
        Clerk()
    for address in ["", "localhost", "localhost:", "localhost:99999", "http://a:1", "a b:1"]:
        with pytest.raises(Invalid, match="not an address of the form HOST:PORT"):
            Clerk(servers=[address])
    with pytest.raises(Invalid, match="a request can carry"):
        clerk.append("1", bytes(33 << 20))
    with pytest.raises(Invalid, match="not a decimal integer"):
        clerk.append("x", "y")
    assert server.asked == []
