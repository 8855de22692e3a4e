"""The clerk with real stores, whose leaders are killed and whose answers are lost."""

import random
import threading

import grpc
import pytest
from conftest import SAMPLES

from shardedkv import Clerk, Options, Reason, Refused
from shardedkv.peer import open_channel

WRITERS = 4
APPENDS = 100


def test_what_a_person_does_with_a_store(store):
    store.up_with(groups=2, replicas=1, shards=12)
    for target in [
        {"managers": [f"127.0.0.1:{store.manager_port()}"]},
        {"servers": [f"127.0.0.1:{store.server_ports()[1][0]}"]},
    ]:
        with Clerk(**target) as clerk:
            for key in [f"key-{number}" for number in range(20)]:
                assert clerk.get(key).found is False
                assert clerk.append(key, "hello").old_value == b""
                assert clerk.append(key, ", world").old_value == b"hello"
                found = clerk.get(key)
                assert (found.value, found.found) == (b"hello, world", True)
                assert not clerk.put(key, "x", if_revision=0).success
                assert clerk.put(key, b"\xff", if_revision=found.revision).success
                assert clerk.get(key).value == b"\xff"
                assert clerk.delete(key).success
                assert clerk.get(key) == type(found)(b"", False, 0)
            with pytest.raises(Refused) as refused:
                clerk.get("")
            assert refused.value.reason == Reason.INVALID_ARGUMENT


class LostAnswer(grpc.RpcError):
    """As a connection fails that broke after the request."""

    def code(self):
        return grpc.StatusCode.UNAVAILABLE

    def details(self):
        return "the answer was lost"

    def trailing_metadata(self):
        return ()


class LosesAnswers(grpc.UnaryUnaryClientInterceptor):
    """Requests arrive and are carried out; many answers to mutations don't come back."""

    def __init__(self, seed: int):
        self._dice = random.Random(seed)
        self.lost = 0

    def intercept_unary_unary(self, continuation, client_call_details, request):
        answer = continuation(client_call_details, request)
        if client_call_details.method == "/shardedkv.v1.Kv/Append":
            answer.result()
            if self._dice.random() < 0.3:
                self.lost += 1
                raise LostAnswer
        return answer


def test_each_append_is_applied_once_though_answers_are_lost_and_leaders_die(store):
    store.up_with(groups=1, replicas=3, shards=4)
    net = LosesAnswers(seed=1)
    options = Options(deadline=60.0, connect=lambda address: grpc.intercept_channel(open_channel(address), net))
    old_values: dict[str, bytes] = {}
    with Clerk(managers=[f"127.0.0.1:{store.manager_port()}"], options=options) as clerk:

        def write(writer: int) -> None:
            for number in range(APPENDS):
                token = f"{writer}.{number};"
                old_values[token] = clerk.append("K1", token).old_value

        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
        for writer in writers:
            writer.start()
        store.kill_leader(0)
        for writer in writers:
            writer.join()
        value = clerk.get("K1").value
    assert net.lost > 0
    tokens = [f"{token};" for token in value.decode().split(";")[:-1]]
    assert sorted(tokens) == sorted(f"{w}.{n};" for w in range(WRITERS) for n in range(APPENDS))
    # Each was told the value before its own place, also where only a later answer came through.
    before = ""
    for token in tokens:
        assert old_values[token].decode() == before
        before += token


def test_clerks_follow_shards_to_another_group_and_need_no_manager_for_it(store):
    store.up_with(groups=2, replicas=1, shards=12)
    with Clerk(servers=[f"127.0.0.1:{store.server_ports()[0][0]}"]) as clerk:
        keys = [f"key-{number}" for number in range(50)]
        for key in keys:
            clerk.append(key, "1")
        store.run("groups", "remove", "g0")
        for key in keys:
            assert clerk.append(key, "2").old_value == b"1"


def test_a_sample_is_a_store_like_any_other(store):
    store.up(SAMPLES / "lab-raft.yaml")
    with Clerk(managers=[f"127.0.0.1:{store.manager_port()}"]) as clerk:
        assert clerk.append("K1", "1").old_value == b""
