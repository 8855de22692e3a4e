"""Real stores for the tests: `skv up` with the project's programs, in temporary directories."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_server import FakeServer

PROJECT = Path(__file__).resolve().parents[3]
SAMPLES = PROJECT / "deploy" / "samples"
PROGRAMS = (PROJECT / "deploy" / "image" / "programs").read_text().split()
# Far more than anything takes: only a test that has failed gets here.
NEVER = 90.0


def eventually(what: str, ask: Callable[[], object]) -> object:
    """Asks again and again until the answer is true."""
    end = time.monotonic() + NEVER
    while not (answer := ask()):
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.05)
    return answer


@pytest.fixture(scope="session")
def skv() -> Path:
    """The program: in $SKV_PROGRAMS, else freshly built."""
    given = os.environ.get("SKV_PROGRAMS")
    if given:
        return Path(given) / "skv"
    packages = [f"--package={name}" for name in PROGRAMS]
    subprocess.run(["cargo", "build", "--quiet", *packages], cwd=PROJECT, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version=1"], cwd=PROJECT, check=True, stdout=subprocess.PIPE
    )
    return Path(json.loads(metadata.stdout)["target_directory"]) / "debug" / "skv"


class Store:
    """A store on this machine, and the commands of the person who runs it."""

    def __init__(self, skv: Path, home: Path):
        self._skv = skv
        self.home = home
        self.name = ""

    def run(self, *arguments: str) -> str:
        """Runs a command of skv that must succeed; answers what it printed."""
        done = self._skv_done(arguments)
        assert done.returncode == 0, f"skv {arguments}: {done.stderr}"
        return done.stdout

    def _skv_done(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SKV_")}
        environment["SKV_HOME"] = str(self.home)
        return subprocess.run(
            [self._skv, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    def up(self, manifest: Path) -> None:
        """Starts it in the background; returns when it is ready."""
        text = manifest.read_text()
        self.name = next(line.split()[1] for line in text.splitlines() if line.startswith("  name:"))
        self.run("up", "--detach", "--file", str(manifest))

    def up_with(self, **spec: object) -> None:
        """Starts one with these settings."""
        manifest = self.home / "store.yaml"
        head = "apiVersion: shardedkv.io/v1alpha1\nkind: ShardedKV\nmetadata:\n  name: store\nspec: "
        manifest.write_text(head + json.dumps(spec) + "\n")
        self.up(manifest)

    def record(self) -> dict:
        """Its processes and their ports."""
        return json.loads((self.home / self.name / "cluster.json").read_text())

    def manager_port(self) -> int:
        """Returns the port of the shard manager."""
        return next(m["clientPort"] for m in self.record()["members"] if m["role"] == "manager")

    def server_ports(self) -> dict[int, list[int]]:
        """Returns the ports of the servers of each group."""
        ports: dict[int, list[int]] = {}
        for member in self.record()["members"]:
            if member["role"] != "manager":
                ports.setdefault(member["role"]["server"]["group"], []).append(member["clientPort"])
        return ports

    def pids(self) -> list[int]:
        """The processes that it runs."""
        record = self.record()
        processes = [record["supervisor"], *(member["process"] for member in record["members"])]
        return [process["pid"] for process in processes if process is not None]

    def leader(self, group: int) -> dict:
        """The member that leads a group."""

        def leader() -> dict | None:
            # It fails while not all replicas are ready, and has no document while nobody answers.
            text = self._skv_done(("status", "--output=json")).stdout
            name = json.loads(text)["groups"][group]["leader"] if text else None
            return next((member for member in self.record()["members"] if member["name"] == name), None)

        return eventually(f"g{group} has a leader", leader)

    def kill_leader(self, group: int) -> None:
        """kill -9; it is started again by itself."""
        os.kill(self.leader(group)["process"]["pid"], signal.SIGKILL)

    def end(self) -> None:
        """Nothing may be left running, also if the test failed."""
        if not self.name or not (self.home / self.name / "cluster.json").exists():
            return
        pids = self.pids()
        try:
            self.run("down")
        finally:
            for pid in pids:
                if (Path("/proc") / str(pid) / "exe").exists() and self._is_ours(pid):
                    os.kill(pid, signal.SIGKILL)

    def _is_ours(self, pid: int) -> bool:
        try:
            command = (Path("/proc") / str(pid) / "cmdline").read_bytes()
        except FileNotFoundError:
            return False
        return str(self.home).encode() in command


@pytest.fixture
def store(skv: Path, tmp_path: Path) -> Iterator[Store]:
    """A place for one store, which the test starts."""
    store = Store(skv, tmp_path)
    yield store
    store.end()


@pytest.fixture(scope="session")
def judge() -> Callable[[Path], subprocess.CompletedProcess]:
    """Judges a history, by the program in $SKV_CHECKER if there is one; succeeds if it is proven right."""
    checker = os.environ.get("SKV_CHECKER")
    command = [checker] if checker else ["cargo", "xtask"]

    def judge(history: Path) -> subprocess.CompletedProcess:
        return subprocess.run([*command, "check", history], cwd=PROJECT, capture_output=True, text=True)

    return judge


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server that misbehaves on demand."""
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture
def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
