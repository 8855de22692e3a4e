"""The answers to the calls of a clerk."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GetAnswer:
    """`value` is empty if there is no such key; `revision` is 0 then."""

    value: bytes
    found: bool
    revision: int


@dataclass(frozen=True)
class PutAnswer:
    """`success` is false if the condition failed; then nothing changed."""

    success: bool
    revision: int


@dataclass(frozen=True)
class AppendAnswer:
    """`old_value` is the value before; `found` says whether there was one."""

    old_value: bytes
    found: bool
    revision: int


@dataclass(frozen=True)
class DeleteAnswer:
    """`success` is false if the condition failed; then `revision` is the key's."""

    success: bool
    found: bool
    revision: int
