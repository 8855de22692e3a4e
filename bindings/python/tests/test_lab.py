"""The labs: their samples as they are, and the client that knows ports only."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from conftest import SAMPLES

from shardedkv.hashing import fnv1
from shardedkv.lab.v1 import lab_pb2, lab_pb2_grpc

KEYS = [f"K{number}" for number in range(10_000)]


def run_client(*arguments: str) -> list[str]:
    """Runs the client; answers the lines that it printed."""
    command = [sys.executable, "-m", "shardedkv.lab_client", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.splitlines()


def assert_each_request_is_answered(lines: list[str], count: int, key: str) -> None:
    """Every request is printed when it is sent, and once more with its answer."""
    request = rf"(Get\({key}\)|Put\({key}, \d\)|Append\({key}, \d\))"
    asked = [line for line in lines if re.fullmatch(rf"client [1-5]: {request} to port \d+", line)]
    answer = r'(value "\d*"|success True|old value "\d*")'
    answered = [line for line in lines if re.fullmatch(rf"client [1-5]: {request} -> {answer}", line)]
    assert (len(asked), len(answered), len(lines)) == (5 * count, 5 * count, 10 * count), lines


def groups_of_keys(store) -> dict[str, int]:
    """The group that each key's port belongs to."""
    group_of = {port: group for group, ports in store.server_ports().items() for port in ports}
    with grpc.insecure_channel(f"127.0.0.1:{store.manager_port()}") as channel:
        manager = lab_pb2_grpc.ShardManagerStub(channel)
        with ThreadPoolExecutor(16) as pool:
            ports = pool.map(lambda key: manager.GetShardIndex(lab_pb2.GetShardIndexRequest(key=key)).port, KEYS)
            return {key: group_of[port] for key, port in zip(KEYS, ports, strict=True)}


def test_the_static_lab_runs_on_this_machine_with_two_groups_and_with_three(store, tmp_path):
    store.up(SAMPLES / "lab-static.yaml")
    assert {group: len(ports) for group, ports in store.server_ports().items()} == {0: 3, 1: 3}
    assert groups_of_keys(store) == {key: fnv1(key.encode()) % 2 for key in KEYS}
    lines = run_client("--manager-port", str(store.manager_port()), "--requests", "20")
    assert_each_request_is_answered(lines, 20, r"K\d")

    more = tmp_path / "three-groups.yaml"
    more.write_text((SAMPLES / "lab-static.yaml").read_text().replace("  groups: 2\n", "  groups: 3\n"))
    store.run("apply", "--file", str(more))
    assert groups_of_keys(store) == {key: fnv1(key.encode()) % 3 for key in KEYS}
    lines = run_client("--manager-port", str(store.manager_port()), "--requests", "20")
    assert_each_request_is_answered(lines, 20, r"K\d")

    logs = [log.read_text() for log in (store.home / "lab-static" / "logs").glob("lab-static-g*.log")]
    for printed in ['Get("K', 'Put("K', 'Append("K', "old value"]:
        assert any(printed in log for log in logs), f"servers print {printed}"


def test_the_raft_lab_answers_at_each_of_its_servers(store):
    store.up(SAMPLES / "lab-raft.yaml")
    ports = store.server_ports()[0]
    for port in ports:
        lines = run_client("--server-port", str(port), "--requests", "10")
        assert_each_request_is_answered(lines, 10, "K1")
        assert all(f"to port {port}" in line for line in lines if "to port" in line)
    values = set()
    for port in ports:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            values.add(lab_pb2_grpc.KvServerStub(channel).Get(lab_pb2.GetRequest(key="K1")).value)
    assert len(values) == 1, "all servers answer alike"


def test_a_lost_server_is_an_error_of_the_client(unused_port):
    command = [sys.executable, "-m", "shardedkv.lab_client", "--server-port", str(unused_port)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 10 and "failed: " in done.stdout
