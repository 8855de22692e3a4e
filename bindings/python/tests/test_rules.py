"""The rules that all clerks share: the cases of `testdata/clerk`."""

import pytest
import yaml
from conftest import PROJECT
from fake_store import FakeStore, Fates

from shardedkv import (
    AlreadyApplied,
    Clerk,
    ClerkError,
    Invalid,
    NoAnswer,
    NoLeader,
    Options,
    OutcomeUnknown,
    Refused,
    Unreachable,
)

CASES = PROJECT / "testdata" / "clerk"
CALLS = yaml.safe_load((CASES / "calls.yaml").read_text())
PLACEMENT = yaml.safe_load((CASES / "placement.yaml").read_text())
SHARDS, GROUPS = 60, 3
# The time that a call and a transmission may take.
PATIENCE = {"long": (60.0, 30.0), "attempt": (60.0, 1.0), "short": (2.0, 0.5)}


@pytest.mark.parametrize("case", PLACEMENT, ids=lambda case: f"{case['hash']} {case['key']!r}")
def test_a_key_is_placed(case):
    owners = [shard % GROUPS for shard in range(SHARDS)]
    store = FakeStore([1] * GROUPS, owners, hash_name=case["hash"])
    try:
        with Clerk(managers=[store.manager]) as clerk:
            if "invalid" in case:
                with pytest.raises(Invalid, match=case["invalid"]):
                    clerk.get(case["key"])
                assert store.seen == []
            else:
                clerk.get(case["key"])
                assert [seen.server for seen in store.seen] == [case["shard"] % GROUPS]
    finally:
        store.stop()


@pytest.mark.parametrize("case", CALLS, ids=lambda case: case["name"])
def test_a_call_keeps_the_rules(case):
    groups, owners = case.get("groups", [1]), case.get("owners", [0, 0, 0, 0])
    store = FakeStore(groups, owners, dead=case.get("dead", []), copies=case.get("copies", True))
    store.opens = case.get("opens", [])
    try:
        play(case, store)
    finally:
        store.stop()


def play(case: dict, store: FakeStore) -> None:
    """Makes the calls of a case, one after the other, and compares."""
    target = {
        "manager": {"managers": [store.manager]},
        "servers": {"servers": store.addresses},
        "nobody": {"managers": ["127.0.0.1:1"]},
    }[case.get("target", "manager")]
    (patience,) = {call.get("patience", "long") for call in case["calls"] if "patience" in call} or {"long"}
    deadline, attempt = PATIENCE[patience]
    sessions: list[int] = []
    with Clerk(**target, options=Options(deadline=deadline, attempt_timeout=attempt)) as clerk:
        if case.get("target", "manager") == "manager":
            wait_for_the_map(clerk)
        for call in case["calls"]:
            store.fates = Fates(list(call.get("first", [])), call.get("later", "ok"), call.get("later_at", []))
            seen, applied = len(store.seen), store.applied
            ends, text = make(clerk, call)
            assert ends == call.get("ends", "answered"), text
            for words in call.get("says", []):
                assert words.format(*store.addresses) in text
            if "sent" in call:
                assert_sent(call["sent"], store.seen[seen:], sessions)
            mutates = "append" in call
            assert store.applied - applied == call.get("applied", int(mutates and ends == "answered"))


def wait_for_the_map(clerk: Clerk) -> None:
    """Returns when keys can be placed, so that a short call isn't over before. Nothing is sent for a key
    that the hash can't take."""
    while True:
        try:
            clerk.get("not a number")
        except Invalid:
            return
        except Unreachable:
            pass


def make(clerk: Clerk, call: dict) -> tuple[str, str]:
    """Makes a call; returns its end, as the cases name it, and its error's text."""
    try:
        if "append" in call:
            clerk.append(call["append"], "x")
        else:
            clerk.get(call["get"])
    except ClerkError as error:
        return name_of(error), str(error)
    return "answered", ""


def name_of(error: ClerkError) -> str:
    """Returns the error, as the cases name it."""
    match error:
        case Invalid():
            return "invalid"
        case NoLeader():
            return "no leader"
        case Refused():
            return f"refused: {error.reason.name}"
        case Unreachable():
            return "unreachable"
        case OutcomeUnknown():
            return "outcome unknown"
        case NoAnswer():
            return "no answer"
        case AlreadyApplied():
            return f"already applied: {error.revision}"
    raise AssertionError(error)


def assert_sent(expected: list[dict], seen: list, sessions: list[int]) -> None:
    """Compares what a case names of each transmission. Sessions are numbered as they appear."""
    for transmission in seen:
        if transmission.id is not None and transmission.id.session.random not in sessions:
            sessions.append(transmission.id.session.random)
    assert [named(each, transmission, sessions) for each, transmission in zip(expected, seen)] == expected
    assert len(seen) == len(expected), seen


def named(expected: dict, transmission, sessions: list[int]) -> dict:
    """Returns the same facts of a transmission as are expected."""
    identity, request = transmission.id, transmission.request
    facts = {"to": transmission.server, "direct": request.direct, "session": 0}
    if identity is not None:
        facts |= {
            "session": sessions.index(identity.session.random) + 1,
            "seq": identity.seq,
            "acked_below": identity.acked_below,
        }
        bound = expected.get("opened_after", 0)
        facts["opened_after"] = bound if identity.session.opened_at > bound else identity.session.opened_at
    return {name: facts.get(name) for name in expected}
