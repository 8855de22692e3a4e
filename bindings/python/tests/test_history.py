"""What clerks see is linearizable: their histories are judged by the checker that judges those of Rust."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

from history import History, RecordedClerk

from shardedkv import Clerk, Options

CLIENTS = 4
KEYS = 6
# The pause of a client between two calls, in seconds: a history of seconds stays readable.
THINK = 0.002


def work(clerk: RecordedClerk, over: threading.Event) -> None:
    """Makes random calls until it is over."""
    dice, number = random.Random(clerk.client), 0
    revisions: dict[str, int | None] = {}
    while not over.wait(THINK):
        number += 1
        token = f"{clerk.client}.{number};"
        # To half of the keys tokens are appended and nothing else, so that each can be counted.
        counted, key = f"tokens-{dice.randrange(KEYS)}", f"key-{dice.randrange(KEYS)}"
        match dice.randrange(6):
            case 0:
                clerk.append(counted, token)
            case 1:
                clerk.get(counted)
            case 2:
                clerk.append(key, token)
            case 3:
                clerk.put(key, token, revisions.get(key))
            case 4:
                revisions[key] = clerk.get(key)
            case _:
                clerk.delete(key)


def test_what_clerks_see_is_linearizable_while_servers_are_killed_and_shards_move(store, judge, tmp_path):
    store.up_with(groups=2, replicas=3, shards=12)
    history, over = History(), threading.Event()
    options = Options(deadline=60.0)
    managers = [f"127.0.0.1:{store.manager_port()}"]
    with (
        Clerk(managers=managers, options=options) as shared,
        Clerk(managers=managers, options=options) as own,
        ThreadPoolExecutor(CLIENTS) as threads,
    ):
        clerks = [own, *[shared] * (CLIENTS - 1)]
        clients = [RecordedClerk(client, clerk, history) for client, clerk in enumerate(clerks, 1)]
        working = [threads.submit(work, client, over) for client in clients]
        try:
            store.kill_leader(0)
            store.run("group", "remove", "g1")
            store.kill_leader(0)
            store.run("group", "add", "g1")
            store.kill_leader(1)
            store.leader(1)
        finally:
            over.set()
        for ended in working:
            ended.result()
        last = RecordedClerk(CLIENTS + 1, own, history)
        for number in range(KEYS):
            last.get(f"tokens-{number}")
            last.get(f"key-{number}")
    assert history.outcomes()["ok"] > 10 * CLIENTS
    judged = judge(history.write(tmp_path / "history.jsonl"))
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_a_wrong_history_is_noticed(judge, tmp_path):
    class Forgetful:
        """A store that acknowledges what it doesn't keep."""

        def append(self, key, args):
            return type("Answer", (), {"old_value": b"", "found": False, "revision": 1})

        def get(self, key):
            return type("Answer", (), {"value": b"", "found": False, "revision": 0})

    history = History()
    clerk = RecordedClerk(1, Forgetful(), history)
    clerk.append("tokens", "1.1;")
    clerk.get("tokens")
    judged = judge(history.write(tmp_path / "history.jsonl"))
    assert judged.returncode != 0
    assert "1.1;" in judged.stdout, judged.stdout + judged.stderr
