"""The client of the labs: five threads, each of which picks a random request, asks the shard manager
for the port of the key's group, sends the request there and waits for the answer.

It knows ports only, sends no ids and tries nothing twice: an answer that is lost is an error here.
For more than a lab use `shardedkv.Clerk`.
"""

import argparse
import os
import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from shardedkv.lab.v1 import lab_pb2, lab_pb2_grpc
from shardedkv.peer import open_channel

CLIENTS = 5


@dataclass(frozen=True)
class Store:
    """The place of the store: a machine, and either its shard manager's port or that of one server."""

    host: str
    manager_port: int | None
    server_port: int | None

    def address(self, port: int) -> str:
        """The address of a port."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def port_of(self, key: str) -> int:
        """The port to send requests for a key to."""
        if self.manager_port is None:
            return self.server_port
        with open_channel(self.address(self.manager_port)) as channel:
            manager = lab_pb2_grpc.ShardManagerStub(channel)
            return manager.GetShardIndex(lab_pb2.GetShardIndexRequest(key=key)).port


_printing = threading.Lock()


def say(line: str) -> None:
    """Prints a line whole, whatever other threads print."""
    with _printing:
        try:
            print(line, flush=True)
        except BrokenPipeError:
            # Nobody reads any more: this thread ends, and the interpreter finds nothing to complain of.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


# A request as it is printed, and what sends it and answers what is printed then.
Request = tuple[str, Callable[[lab_pb2_grpc.KvServerStub], str]]


def random_request(key: str, client: int, dice: random.Random) -> Request:
    """A Get, a Put of the client's number, or an Append of it."""
    number = str(client)
    requests: list[Request] = [
        (
            f"Get({key})",
            lambda server: f'value "{server.Get(lab_pb2.GetRequest(key=key)).value}"',
        ),
        (
            f"Put({key}, {number})",
            lambda server: f"success {server.Put(lab_pb2.PutRequest(key=key, value=number)).success}",
        ),
        (
            f"Append({key}, {number})",
            lambda server: f'old value "{server.Append(lab_pb2.AppendRequest(key=key, args=number)).old_value}"',
        ),
    ]
    return dice.choice(requests)


def run_client(client: int, store: Store, keys: list[str], count: int, dice: random.Random) -> bool:
    """Does the work of one thread; returns whether all went well."""
    for _ in range(count):
        key = dice.choice(keys)
        shown, send = random_request(key, client, dice)
        try:
            port = store.port_of(key)
            say(f"client {client}: {shown} to port {port}")
            with open_channel(store.address(port)) as channel:
                answer = send(lab_pb2_grpc.KvServerStub(channel))
        except grpc.RpcError as error:
            say(f"client {client}: {shown} failed: {error.details()}")
            return False
        say(f"client {client}: {shown} -> {answer}")
    return True


def _between(low: int, high: int | None = None) -> Callable[[str], int]:
    """Reads numbers in this range."""

    def read(text: str) -> int:
        number = int(text)
        if number < low or (high is not None and number > high):
            raise argparse.ArgumentTypeError(f"{text} is not {low} to {high}" if high else f"{text} is below {low}")
        return number

    read.__name__ = "number"
    return read


_PORT = _between(1, 65535)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="shardedkv-lab-client",
        description="Five clients, each of which sends random requests and prints them with their answers.",
    )
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--manager-port", type=_PORT, metavar="PORT", help="ask the shard manager at this port")
    asked.add_argument("--server-port", type=_PORT, metavar="PORT", help="ask nobody: one server, and the key K1")
    parser.add_argument("--host", default="127.0.0.1", help="the machine of all ports (default: this one)")
    parser.add_argument("--requests", type=_between(1), default=1, metavar="N", help="requests of each client (default: 1)")
    parser.add_argument("--seed", type=int, help="choose the same requests each time")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the clients; 0 if every request was answered."""
    options = parse_arguments(arguments)
    store = Store(options.host, options.manager_port, options.server_port)
    keys = ["K1"] if store.manager_port is None else [f"K{number}" for number in range(1, 10)]
    went_well: list[bool] = []

    def client(number: int) -> None:
        dice = random.Random(None if options.seed is None else options.seed * CLIENTS + number)
        went_well.append(run_client(number, store, keys, options.requests, dice))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(1, CLIENTS + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0 if len(went_well) == CLIENTS and all(went_well) else 1


if __name__ == "__main__":
    sys.exit(main())
