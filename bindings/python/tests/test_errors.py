"""Errors as other processes get them."""

import copy
import pickle

import pytest

from shardedkv import (
    AlreadyApplied,
    ClerkError,
    Invalid,
    NoAnswer,
    NoLeader,
    OutcomeUnknown,
    Reason,
    Refused,
    Unreachable,
)
from shardedkv.v1 import error_pb2

REFUSAL = error_pb2.Error(reason=error_pb2.REASON_DISK_FULL, message="the log")
ERRORS = [
    Invalid("no address"),
    Refused(REFUSAL),
    NoLeader(REFUSAL, "no replica serves"),
    Unreachable("refused"),
    OutcomeUnknown("lost"),
    AlreadyApplied(7),
    NoAnswer("late"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("passed", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy], ids=["pickle", "copy"])
def test_an_error_is_the_same_elsewhere(error, passed):
    error.add_note("said by a person")
    there = passed(error)
    assert (type(there), str(there), there.args, vars(there)) == (type(error), str(error), error.args, vars(error))


def test_every_error_is_tried():
    def kinds(kind):
        return {kind}.union(*(kinds(sub) for sub in kind.__subclasses__()))

    assert {type(error) for error in ERRORS} == kinds(ClerkError) - {ClerkError}
    assert ERRORS[1].reason == Reason.DISK_FULL
