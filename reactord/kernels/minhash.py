"""Which of these texts say almost the same thing?

A text is its set of word shingles (runs of 3 words); two texts are as alike as their sets' Jaccard index, and MinHash
estimates it: the share of equal slots in two signatures has mean J and standard deviation sqrt(J(1-J)/permutations),
0.04 at J = 0.7 (Broder 1997). Texts are compared after NFC and casefold, word by word, so case and spacing do not
count. A text of fewer than 3 words is one shingle, and alike only to itself.

The signatures are made by native/src/minhash.c. Nothing here needs numpy.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from reactord.errors import BadInput
from reactord.kernels import ffi, lib

#: Changes whenever the same text would get another signature: stored signatures carry it, and compare only within it.
SIGNATURE_VERSION = 1

MAX_SLOTS = 1 << 27  # 512 MB of signatures: a million texts at 128 permutations
MAX_BYTES = 1 << 28  # 256 MB of packed text, which is held twice while it is packed

_SEED = 0x6D696E68617368  # "minhash"
_SLOT_BYTES = 4
_WORD = re.compile(rb"[^\x00-\x20]+")  # the kernel's idea of a word


@dataclass(frozen=True, slots=True)
class Signatures:
    """n signatures, one a text: n x permutations uint32, row by row, little-endian."""

    slots: bytes
    permutations: int

    def __len__(self) -> int:
        return len(self.slots) // self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return self.permutations * _SLOT_BYTES

    def row(self, i: int) -> bytes:
        """Signature i, without its neighbours."""
        if not 0 <= i < len(self):
            raise IndexError(f"signature {i} of {len(self)}")
        return self.slots[i * self._row_bytes : (i + 1) * self._row_bytes]

    def is_empty(self, i: int) -> bool:
        """Text i has no words: its signature says nothing, and equals every other empty one."""
        return self.row(i) == b"\xff" * self._row_bytes

    def agreement(self, i: int, j: int) -> float:
        """Share of equal slots = estimated Jaccard index of texts i and j; 0.0 when either is empty."""
        if self.is_empty(i) or self.is_empty(j):
            return 0.0
        low_31, top = _lane_masks(self.permutations)
        # All slots at once in one long integer: a slot of `differ` is zero where the two agree; adding 0x7fffffff to
        # its low 31 bits carries into its top bit, and never beyond, unless those are all zero.
        differ = int.from_bytes(self.row(i), "little") ^ int.from_bytes(self.row(j), "little")
        return 1.0 - ((((differ & low_31) + low_31) | differ) & top).bit_count() / self.permutations

    def band(self, i: int, number: int, rows: int) -> bytes:
        """The `number`-th run of `rows` slots of signature i: texts that share one are candidates (LSH)."""
        start = i * self._row_bytes + number * rows * _SLOT_BYTES
        return self.slots[start : start + rows * _SLOT_BYTES]


def signatures(texts: Sequence[str], *, shingle_words: int = 3, permutations: int = 128) -> Signatures:
    """One MinHash signature per text, in order. Raises BadInput for too large a batch or a setting out of range."""
    if shingle_words not in range(1, 9) or permutations not in range(8, 1025, 8):
        raise BadInput(
            f"MinHash of {shingle_words}-word shingles with {permutations} permutations is not supported. "
            "Use 1 to 8 words, and a multiple of 8 permutations up to 1024."
        )
    if len(texts) * permutations > MAX_SLOTS:
        raise BadInput(f"{len(texts)} texts are more than {MAX_SLOTS // permutations} in one batch. Split the batch.")
    packed = [_normal(text) for text in texts]
    offsets = list(accumulate(map(len, packed), initial=0))
    if offsets[-1] > MAX_BYTES:
        raise BadInput(f"{offsets[-1]} bytes of text are more than {MAX_BYTES} in one batch. Split the batch.")
    return _sign(b"".join(packed), offsets, shingle_words, permutations)


def near_duplicates(
    texts: Sequence[str], *, threshold: float = 0.7, shingle_words: int = 3, permutations: int = 128
) -> list[int]:
    """A cluster label per text: the smallest index in its cluster, so a text unlike all others is labelled by itself.

    Two texts are joined when they share a band (at the threshold with a probability of at least 0.98, above it with
    more), agree on `threshold` of their slots, and do have that Jaccard index; chains of such pairs are one cluster.
    Within a band a text is compared with the first text of each cluster there, not with all of them.
    So no chance agreement joins two texts: at 0.7, questions of up to 7 different words that differ in one stay apart.
    Empty texts cluster with nothing. The same texts always give the same labels. Time grows with the number of
    candidate pairs, which a corpus of half-alike texts (one long template) makes quadratic.
    """
    if not 0.0 < threshold <= 1.0:
        raise BadInput(f"A similarity threshold of {threshold} is outside (0, 1]. Use 0.7, or a number nearby.")
    signed = signatures(texts, shingle_words=shingle_words, permutations=permutations)
    parent = list(range(len(texts)))
    full = [i for i in parent if not signed.is_empty(i)]
    rows = _band_rows(threshold, permutations)
    for number in range(permutations // rows):
        buckets: dict[bytes, list[int]] = {}  # band -> the first text of each cluster seen with that band
        for i in full:
            heads = buckets.setdefault(signed.band(i, number, rows), [])
            for head in heads:
                low, high = sorted((_root(parent, head), _root(parent, i)))
                if low == high or signed.agreement(head, i) < threshold:
                    continue
                if _jaccard(texts[head], texts[i], shingle_words) >= threshold:
                    parent[high] = low
            if _root(parent, i) not in {_root(parent, head) for head in heads}:
                heads.append(i)
    return [_root(parent, i) for i in range(len(texts))]


def _sign(text: bytes, offsets: list[int], shingle_words: int, permutations: int) -> Signatures:
    """Call the kernel, which checks what it is given before it writes a byte."""
    multipliers, addends = _coefficients(permutations)
    out = ffi.new("uint32_t[]", (len(offsets) - 1) * permutations)
    code = lib.rk_minhash_words(
        text, len(text), offsets, len(offsets) - 1, shingle_words, multipliers, addends, permutations, out
    )
    if code != lib.RK_OK:
        raise BadInput(
            f"The kernel refused a batch of {len(offsets) - 1} texts in {len(text)} bytes. "
            "Give offsets that never fall nor leave the text, 1 to 8 words, a multiple of 8 permutations."
        )
    return Signatures(bytes(ffi.buffer(out)), permutations)


def _normal(text: str) -> bytes:
    """UTF-8 after NFC, casefold, and a blank for every white space of Unicode; for ASCII the kernel does this."""
    if not text.isascii():
        text = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    return text.encode("utf-8", "surrogatepass")  # half a surrogate pair is a fact of some JSON, and no reason to stop


def _jaccard(left: str, right: str, shingle_words: int) -> float:
    """What the signatures estimate, counted: shared shingles over all shingles of two texts that are not empty."""
    one, other = _shingles(left, shingle_words), _shingles(right, shingle_words)
    return len(one & other) / len(one | other)


def _shingles(text: str, shingle_words: int) -> set[tuple[bytes, ...]]:
    words = _WORD.findall(_normal(text).lower())  # bytes.lower is ASCII's, like the kernel's
    return {tuple(words[i : i + shingle_words]) for i in range(max(1, len(words) - shingle_words + 1))}


@cache
def _coefficients(permutations: int) -> tuple[list[int], list[int]]:
    """Multipliers (made odd, so x -> ax + b permutes the 32-bit numbers) and addends: the two halves of SplitMix64."""
    draws = []
    state = _SEED
    for _ in range(permutations):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        draws.append(z ^ z >> 31)
    return [draw % 2**32 | 1 for draw in draws], [draw >> 32 for draw in draws]


@cache
def _lane_masks(permutations: int) -> tuple[int, int]:
    """The low 31 bits, and the top bit, of every slot of a signature."""
    top = int.from_bytes(b"\x00\x00\x00\x80" * permutations, "little")
    return top - (top >> 31), top


def _band_rows(threshold: float, permutations: int) -> int:
    """The longest band with which a pair at the threshold shares at least one, with probability 0.98 or more.

    Longer bands mean fewer unlike pairs to check.
    """
    rows = [r for r in range(1, permutations + 1) if 1 - (1 - threshold**r) ** (permutations // r) >= 0.98]
    return max(rows, default=1)


def _root(parent: list[int], i: int) -> int:
    """The smallest index in the cluster of i, shortening the path to it (union-find)."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
