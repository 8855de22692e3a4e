"""From a key to its shard. Pure."""

import re

from shardedkv.errors import Invalid
from shardedkv.v1 import common_pb2

OFFSET_BASIS = 0xCBF29CE484222325
PRIME = 0x100000001B3
MASK = (1 << 64) - 1

_DECIMAL = re.compile(rb"[+-]?[0-9]+")


def fnv1(data: bytes) -> int:
    """64-bit FNV-1: multiply, then xor (RFC 9923)."""
    value = OFFSET_BASIS
    for byte in data:
        value = (value * PRIME & MASK) ^ byte
    return value


def fnv1a(data: bytes) -> int:
    """64-bit FNV-1a: xor, then multiply."""
    value = OFFSET_BASIS
    for byte in data:
        value = (value ^ byte) * PRIME & MASK
    return value


def is_decimal(key: bytes) -> bool:
    """Returns true if a key is a decimal integer."""
    return _DECIMAL.fullmatch(key) is not None


def integer_remainder(key: bytes, shards: int) -> int:
    """The remainder of a decimal integer of any length, never negative."""
    if not is_decimal(key):
        raise Invalid(f'the key {key!r} is not a decimal integer, which hash "integer" needs')
    remainder = 0
    # Python refuses to parse very long numbers.
    for digit in key.lstrip(b"+-"):
        remainder = (remainder * 10 + digit - ord("0")) % shards
    return -remainder % shards if key.startswith(b"-") else remainder


def shard_of(hash_name: int, key: bytes, shards: int) -> int:
    """The shard of a key, by a hash of the `Hash` of the .proto files."""
    match hash_name:
        case common_pb2.HASH_FNV1:
            return fnv1(key) % shards
        case common_pb2.HASH_FNV1A:
            return fnv1a(key) % shards
        case common_pb2.HASH_INTEGER:
            return integer_remainder(key, shards)
        case common_pb2.HASH_INTEGER_OR_FNV1:
            return integer_remainder(key, shards) if is_decimal(key) else fnv1(key) % shards
        case _:
            raise Invalid(f"the store uses hash number {hash_name}, which this client doesn't know")
