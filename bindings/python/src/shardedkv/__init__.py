"""A client of ShardedKV.

`Clerk` applies every operation exactly once and reads what was written before, over lost
messages, crashes and restarts. `shardedkv.lab_client` is the client of the labs, which does none
of that. `shardedkv.v1` and `shardedkv.lab.v1` are generated from the project's .proto files.
"""

from shardedkv.answers import AppendAnswer, DeleteAnswer, GetAnswer, PutAnswer
from shardedkv.clerk import Clerk, Options
from shardedkv.errors import (
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

__all__ = [
    "AlreadyApplied",
    "AppendAnswer",
    "Clerk",
    "ClerkError",
    "DeleteAnswer",
    "GetAnswer",
    "Invalid",
    "NoAnswer",
    "NoLeader",
    "Options",
    "OutcomeUnknown",
    "PutAnswer",
    "Reason",
    "Refused",
    "Unreachable",
]
