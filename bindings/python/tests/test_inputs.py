"""What a clerk and the lab client are given: what can't be right is refused before anything is sent."""

import os
import socket
import subprocess
import sys
import threading

import pytest
from conftest import NEVER
from fake_server import FakeServer

from shardedkv import Clerk, ClerkError, Invalid, Options
from shardedkv.peer import authority


@pytest.fixture
def clerk(server):
    with Clerk(servers=[server.address]) as clerk:
        yield clerk


@pytest.mark.parametrize("data", [None, 5, True, 1.5, ["a"]])
def test_what_is_neither_bytes_nor_text_is_a_type_error(server, clerk, data):
    for call in [
        lambda: clerk.put("k", data),
        lambda: clerk.append("k", data),
        lambda: clerk.put(data, "v"),
        lambda: clerk.append(data, "v"),
        lambda: clerk.get(data),
        lambda: clerk.delete(data),
    ]:
        with pytest.raises(TypeError, match="is bytes or text, not"):
            call()
    assert not server.asked


def test_all_kinds_of_bytes_are_stored(server, clerk):
    for data in [b"\xff\x00", bytearray(b"\xff\x00"), memoryview(b"-\xff\x00-")[1:3]]:
        clerk.append("1", data)
        assert server.applied[-1].args == b"\xff\x00"
    with pytest.raises(Invalid, match="UTF-8"):
        clerk.append("1", "\udcff")


def test_a_condition_is_a_revision(clerk):
    for revision in [-1, 1 << 64]:
        for call in [lambda: clerk.put("k", "v", if_revision=revision), lambda: clerk.delete("k", if_revision=revision)]:
            with pytest.raises(Invalid, match="is no revision"):
                call()
    for revision in ["1", 1.0, True]:
        with pytest.raises(TypeError, match="if_revision is a number"):
            clerk.put("k", "v", if_revision=revision)


def test_after_a_fork_each_process_makes_its_own_clerk():
    # In a process of its own: the tests have threads, which a fork would lose.
    script = """
import os
from shardedkv import Clerk, Invalid

with Clerk(servers=["127.0.0.1:1"]) as clerk:
    child = os.fork()
    if child == 0:
        try:
            clerk.get("1")
        except Invalid as error:
            os._exit(7 if "make one in each" in str(error) else 1)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=NEVER)


def test_one_address_is_no_list_of_addresses():
    for given in [{"managers": "127.0.0.1:7400"}, {"servers": "127.0.0.1:7000"}]:
        with pytest.raises(Invalid, match=r"is a list of addresses: write \w+=\['127"):
            Clerk(**given)
    for address in [7000, b"h:1", None]:
        with pytest.raises(Invalid, match="is not an address"):
            Clerk(servers=[address])


@pytest.mark.parametrize("name", ["deadline", "attempt_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_times_are_above_zero(name, value):
    with pytest.raises(Invalid, match=f"{name} is"):
        Options(**{name: value})


def test_a_closed_clerk_says_so(server):
    clerk = Clerk(servers=[server.address])
    clerk.append("1", "x")
    clerk.close()
    clerk.close()
    for call in [lambda: clerk.get("1"), lambda: clerk.append("1", "x")]:
        with pytest.raises(Invalid, match="the clerk was closed"):
            call()


def test_calls_end_in_an_answer_or_a_clerk_error_when_the_clerk_is_closed(server):
    called, go_on = threading.Event(), threading.Event()

    def hold(_request, _context):
        called.set()
        go_on.wait(10)

    server.answers = [hold]
    clerk = Clerk(servers=[server.address], options=Options(deadline=60.0, attempt_timeout=60.0))
    ended = []

    def call():
        try:
            ended.append(clerk.append("1", "x"))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert called.wait(10)
    clerk.close()
    thread.join(10)
    go_on.set()
    assert len(ended) == 1 and isinstance(ended[0], ClerkError), ended


CALL = """
import sys
from shardedkv import Clerk, Options
with Clerk(servers=[sys.argv[1]], options=Options(deadline=5.0)) as clerk:
    clerk.append("1", "x")
"""


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"])
def test_proxies_for_the_web_are_not_for_stores(server, name):
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    # Nobody listens there.
    environment |= {name: "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", CALL, server.address], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, len(server.applied)) == (0, 1), done.stderr


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("kv-manager.default.svc.cluster.local.:7400", "kv-manager.default.svc.cluster.local:7400"),
        ("localhost:1", "localhost:1"),
        ("[::1]:7000", "[::1]:7000"),
    ],
)
def test_requests_call_a_server_without_the_final_dot(address, name):
    assert authority(address) == name


def test_addresses_may_be_of_ipv6():
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    server = FakeServer(host="[::1]")
    try:
        with Clerk(servers=[server.address]) as clerk:
            clerk.append("1", "x")
        assert server.address.startswith("[::1]:") and len(server.applied) == 1
    finally:
        server.stop()


def run_lab_client(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "shardedkv.lab_client", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--manager-port", "99999"],
        ["--manager-port", "0"],
        ["--server-port", "-1"],
        ["--server-port", "x"],
        ["--server-port", "4000", "--requests", "-3"],
        ["--server-port", "4000", "--requests", "0"],
    ],
)
def test_the_lab_client_refuses_numbers_that_cant_be(arguments):
    done = run_lab_client(*arguments)
    assert done.returncode == 2 and "usage: " in done.stderr and "error: " in done.stderr, done.stderr


def test_a_reader_that_goes_away_gets_no_tracebacks():
    command = f"{sys.executable} -m shardedkv.lab_client --server-port 9 --requests 3 | head -0"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
