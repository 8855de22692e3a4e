"""Shard maps that no shard manager of this version sends."""

import pytest

from shardedkv.routing import MAX_SHARDS, _owners
from shardedkv.v1 import common_pb2


def shard_map(shards, *counts):
    ranges = [common_pb2.ShardRange(count=count, group=1, epoch=2) for count in counts]
    return common_pb2.ShardMap(shards=shards, ranges=ranges)


def test_a_map_that_is_whole_has_an_owner_of_each_shard():
    assert _owners(shard_map(5, 2, 3)) == [(1, 2)] * 5
    assert len(_owners(shard_map(MAX_SHARDS, MAX_SHARDS))) == MAX_SHARDS


@pytest.mark.parametrize("shards", [0, 5, 2**32 - 1])
def test_a_range_of_a_few_bytes_takes_no_memory_for_billions_of_shards(shards):
    assert _owners(shard_map(shards, 2**32 - 1)) is None
