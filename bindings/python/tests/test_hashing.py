"""From a key to its shard."""

import random

import pytest

from shardedkv import Invalid
from shardedkv.hashing import fnv1, fnv1a, integer_remainder, shard_of
from shardedkv.v1 import common_pb2


def test_fnv_matches_the_published_vectors():
    assert (fnv1(b""), fnv1a(b"")) == (0xCBF29CE484222325, 0xCBF29CE484222325)
    assert (fnv1(b"a"), fnv1a(b"a")) == (0xAF63BD4C8601B7BE, 0xAF63DC4C8601EC8C)
    assert (fnv1(b"foobar"), fnv1a(b"foobar")) == (0x340D8765A4DDA9C2, 0x85944171F73967E8)


def test_integer_is_the_remainder_that_is_never_negative():
    dice = random.Random(1)
    for _ in range(1000):
        key, shards = dice.randint(-(10**30), 10**30), dice.randint(1, 5000)
        assert integer_remainder(str(key).encode(), shards) == key % shards
    assert integer_remainder(b"+7", 5) == 2
    assert integer_remainder(b"1" + b"0" * 10_000, 3) == 1


@pytest.mark.parametrize("key", ["", "-", "+", "1a", " 1", "1 ", "0x10", "1.0", "--1", "²", "1\n"])
def test_integer_refuses_what_is_not_decimal(key):
    with pytest.raises(Invalid):
        integer_remainder(key.encode(), 7)


def test_each_hash_of_the_wire_format_has_its_function():
    assert shard_of(common_pb2.HASH_FNV1, b"foobar", 60) == fnv1(b"foobar") % 60
    assert shard_of(common_pb2.HASH_FNV1A, b"foobar", 60) == fnv1a(b"foobar") % 60
    assert shard_of(common_pb2.HASH_INTEGER, b"-1", 60) == 59
    with pytest.raises(Invalid, match="hash number 99"):
        shard_of(99, b"foobar", 60)
