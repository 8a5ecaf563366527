"""Small builders that the tests of the data room share."""

import hashlib
import re
from pathlib import Path

from reactord.data.dataset import DatasetRecipe, DatasetVersion, build, read_examples
from reactord.formats import FORMATS
from reactord.ledger.reading import StoredRecord

NOW = 1_800_000_000.0
WORDS = re.compile(r"\w+|[^\w\s]")


def tokenize(text: str) -> list[int]:
    """One token a word or sign; stable between runs, unlike hash()."""
    return [int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest()) for word in WORDS.findall(text)]


def count(text: str) -> int:
    return len(tokenize(text))


def stored(bodies, *, age_s=60.0):
    """Records as the ledger would hand them out, in order of arrival."""
    return [
        StoredRecord(i + 1, identity(i), "telemetry", NOW - age_s + i * 1e-3, body) for i, body in enumerate(bodies)
    ]


def identity(number):
    return hashlib.blake2b(f"r{number}".encode(), digest_size=16).hexdigest()


def said(prompt, reply, model="m", outcome="success", **extra):
    """A canonical telemetry line, without the keys that do not matter here."""
    return {
        "event_type": "interaction", "user_input": prompt, "assistant_output": reply, "model_id": model,
        "outcome": outcome, **extra,
    }  # fmt: skip


def corrected(prompt, original, better, **extra):
    return said(prompt, original, "old", "unknown", event_type="correction", original_response=original,
                corrected_response=better, **extra)  # fmt: skip


def made(records, into: Path, *, parent=None, upto=None, as_of=NOW, **recipe) -> DatasetVersion:
    into.mkdir(parents=True, exist_ok=True)
    return build(
        records, DatasetRecipe(**recipe), upto=len(records) if upto is None else upto, as_of=as_of, parent=parent,
        tokenize=tokenize, into=into,
    )  # fmt: skip


def published(version: DatasetVersion, datasets: Path) -> Path:
    """The version under its name, as the worker publishes it."""
    return version.directory.rename(datasets / version.sha256)


def examples(directory: Path):
    return read_examples(directory / "train.jsonl") + read_examples(directory / "holdout.jsonl")


def parsed(path: Path):
    """The records of a telemetry file, as the ledger would hand them out."""
    lines = path.read_bytes().splitlines()
    return stored(
        [FORMATS["telemetry"].parse(line, f"{path.name}:{i}")[0].body for i, line in enumerate(lines)], age_s=3600
    )
