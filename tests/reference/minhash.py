"""What must the MinHash kernel compute? The same numbers, slowly, one Python integer at a time.

Written from the contract in native/include/rk.h, and sharing no code with the kernel or its wrapper.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

ALL_ONES = 2**32 - 1


def words(text: bytes) -> list[bytes]:
    """The longest runs of bytes above 0x20, A-Z as a-z."""
    return [word.lower() for word in re.findall(rb"[\x21-\xff]+", text)]


def shingles(text: bytes, w: int) -> list[tuple[bytes, ...]]:
    """Every run of w words; all words when there are fewer; nothing when there are none."""
    found = words(text)
    if len(found) <= w:
        return [tuple(found)] if found else []
    return [tuple(found[i : i + w]) for i in range(len(found) - w + 1)]


def fnv1a(data: bytes) -> int:
    """The 32-bit FNV-1a hash."""
    h = 2166136261
    for byte in data:
        h = (h ^ byte) * 16777619 % 2**32
    return h


def shingle_hash(shingle: Sequence[bytes]) -> int:
    """Rotate, xor, multiply per word, then MurmurHash3's finaliser."""
    h = 0
    for word in shingle:
        rotated = (h * 32 + h // 2**27) % 2**32
        h = (rotated ^ fnv1a(word)) * 0x9E3779B1 % 2**32
    h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
    h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
    return h ^ h >> 16


def signature(text: bytes, w: int, multipliers: Sequence[int], addends: Sequence[int]) -> list[int]:
    """One document's minima over all shingles, per permutation."""
    hashes = [shingle_hash(shingle) for shingle in shingles(text, w)]
    return [
        min(((a * x + b) % 2**32 for x in hashes), default=ALL_ONES) for a, b in zip(multipliers, addends, strict=True)
    ]


def split_mix_64(seed: int) -> Iterator[int]:
    """Steele, Lea and Flood's generator (2014)."""
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) % 2**64
        z = seed
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        yield z ^ z >> 31


def agreement(left: Sequence[int], right: Sequence[int]) -> float:
    """Share of equal slots."""
    return sum(a == b for a, b in zip(left, right, strict=True)) / len(left)
