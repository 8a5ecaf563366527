"""How fast is MinHash of text here, beside rensa and datasketch?

The same synthetic documents, 128 permutations of 3-word shingles from plain `str`, one thread, interleaved in one
process; each library in its quickest bulk call, with the Python shingling it needs. Prints one JSON object. Trust the
ratios (the median over rounds of two neighbouring runs); documents per second are the best round's, and the machine's.

    python benchmarks/minhash.py [documents] [rounds]
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

os.environ["RAYON_NUM_THREADS"] = "1"  # rensa would use every core, we use one

import datasketch  # type: ignore[import-untyped]  # publishes no types
import rensa  # type: ignore[import-untyped]  # publishes no types

from reactord.kernels.minhash import near_duplicates, signatures

PERMUTATIONS, WORDS = 128, 3


def documents(n: int) -> list[str]:
    """Texts of 42 words, about 290 bytes: the length of a short answer."""
    rng = random.Random(1)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(5000)]
    return [" ".join(rng.choices(vocabulary, k=42)) for _ in range(n)]


def shingles(text: str) -> list[str]:
    words = text.casefold().split()
    return [" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))]


def ours(texts: list[str]) -> None:
    signatures(texts, shingle_words=WORDS, permutations=PERMUTATIONS)


def by_rensa(texts: list[str]) -> None:
    rensa.RMinHash.digest_matrix_from_token_sets([shingles(text) for text in texts], PERMUTATIONS, 1)


def by_datasketch(texts: list[str]) -> None:
    datasketch.MinHash.bulk(([s.encode() for s in shingles(text)] for text in texts), num_perm=PERMUTATIONS)


def seconds(work: Callable[[list[str]], object], texts: list[str]) -> float:
    start = time.perf_counter()
    work(texts)
    return time.perf_counter() - start


def main(n: int = 20_000, rounds: int = 7) -> None:
    texts = documents(n)
    few = texts[: max(1, n // 10)]  # datasketch is slow enough to be measured on a tenth
    runs: dict[str, tuple[Callable[[list[str]], object], list[str]]] = {
        "ours": (ours, texts),
        "rensa": (by_rensa, texts),
        "rensa_shingling_alone": (lambda batch: [shingles(text) for text in batch], texts),
        "datasketch": (by_datasketch, few),
        "near_duplicates": (near_duplicates, texts),
    }
    for work, batch in runs.values():
        work(batch[:100])  # warm up
    per_document: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (work, batch) in runs.items():
            per_document[name].append(seconds(work, batch) / len(batch))
    ratios = {
        f"{name}/ours": statistics.median(
            theirs / mine for theirs, mine in zip(per_document[name], per_document["ours"], strict=True)
        )
        for name in ("rensa", "datasketch")
    }
    report = {
        "documents": n,
        "bytes_per_document": round(sum(map(len, texts)) / n),
        "rounds": rounds,
        "threads": 1,
        "load_average_1min": round(os.getloadavg()[0], 2),
        "versions": {name: version(name) for name in ("rensa", "datasketch")},
        "documents_per_s": {name: round(1 / min(times)) for name, times in per_document.items()},
        "time_ratio": {name: round(ratio, 1) for name, ratio in ratios.items()},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
