"""What does a request to train ask for, and which experiences does it bring? (contract/body.md 1.3)

Two forms: the experiences inline, or the path of a file in the drop-box. Both become documents of the `experiences`
format, small enough to be read back one at a time, and already read once by the parser that will read them: what the
journal takes it must be able to give back.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field, ValidationError

from reactord.errors import BadRequest
from reactord.formats import FORMATS
from reactord.formats.records import load_some
from reactord.home import Home
from reactord.http.bodies import Body, bounded
from reactord.http.refusals import BadFields, TooLarge
from reactord.jobs.triggers import LANGUAGE, JobId, JobRequest, new_job_id
from reactord.jobspec import Hyper, Recipe
from reactord.kernels.json_text import values_of

FORMAT = "experiences"
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
MAX_DROPBOX_BYTES = 64 * 1024 * 1024
#: a bomb is packed to a thousandth; twenty thousand times the same experience came to 1/227, with long padding to 1/303
MAX_GZIP_RATIO = 500
#: ten thousand experiences have some 400,000; 64 MiB of `[],` would be 22 million lists, and 1.9 GB
MAX_DROPBOX_VALUES = 4_000_000
MAX_ECHOED = 32
#: experiences of these models cannot be learned from yet
TYPED_HEADS = ("voice", "vision", "embedding", "classifier")
#: what `reactord train` says; everybody else is Body, which holds the training slot for us while it waits
COMMAND_LINE = "reactord-cli"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_GZIP = 16 + zlib.MAX_WBITS


#: of a foreign client; each name in it is looked at
Config = Annotated[dict[str, Any], Field(max_length=1000)]


class StartBody(Body):
    """The keys we read. Body sends others too (epochs, checkpoint_*): steps, not epochs, are planned here."""

    job_id: JobId | None = None
    model_type: Annotated[str, Field(max_length=64, json_schema_extra={"enum": list(LANGUAGE)})] = "llm"
    experiences: list[Any] | None = None
    dataset_path: Annotated[str, Field(max_length=4096)] | None = None
    use_dropbox: bool = False
    config: Config | None = None
    priority: Annotated[str, Field(max_length=32)] | None = None
    recipe: Recipe | None = None
    source: str | None = None
    needs_experiences: int | None = None
    needs_dataset: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A request to train, understood."""

    job: JobRequest
    experiences: list[Any] | None
    dataset_path: str | None
    ignored: dict[str, str]  # key of `config` -> why it is not used


@dataclass(frozen=True, slots=True)
class Documents:
    """What goes to the ledger: documents of the `experiences` format, and how many items they hold."""

    parts: list[bytes]
    items: int


def understand(body: StartBody, now: float, *, delegated: bool = True) -> Order:
    """What the body of POST /api/training/start asks for. Raises BadInput.

    `delegated`: whoever asked may hold the training slot on our behalf; who merely triggers does not (body.md 5.1).
    """
    try:
        if (body.experiences is not None) + (body.dataset_path is not None) > 1:
            raise BadRequest("send either `experiences` or `dataset_path`, not both")
        if body.use_dropbox and body.dataset_path is None:
            raise BadRequest("`use_dropbox` needs `dataset_path`: send the path of the file in the drop-box")
        hyper, ignored = _known_numbers(body.config or {})
        job = JobRequest(
            job_id=new_job_id(now) if body.job_id is None else body.job_id,
            born_of="cli" if body.source == COMMAND_LINE else "http" if delegated else "runner",
            model_type=body.model_type,
            recipe=body.recipe,
            priority=body.priority,
            hyper=hyper,
            needs_experiences=body.needs_experiences,
            needs_dataset=body.needs_dataset,
        )
    except ValidationError as invalid:
        raise BadFields(invalid) from None
    if job.model_type in TYPED_HEADS:
        raise BadRequest(
            f"model_type `{job.model_type}`: typed heads are not in this version; the experiences were not taken."
            f" Keep them, or send language experiences as one of {', '.join(LANGUAGE)}"
        )
    if job.model_type not in LANGUAGE:
        raise BadRequest(f"model_type is not known; send one of {', '.join(LANGUAGE)}")
    return Order(job, body.experiences, body.dataset_path, ignored)


def _known_numbers(config: dict[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Of a foreign `config` the numbers that we know and that are in their bounds, and why the others are not used."""
    known: dict[str, float] = {}
    ignored: dict[str, str] = {}
    for key, value in config.items():
        if key not in Hyper.model_fields:
            reason = "not a number of ours"
        elif isinstance(value, bool) or not isinstance(value, int | float):
            reason = "not a number"
        else:
            try:
                Hyper.model_validate({key: value})
                known[key] = value
                continue
            except ValidationError as invalid:
                reason = str(invalid.errors()[0]["msg"])
        if len(ignored) < MAX_ECHOED:
            ignored[key[:64]] = reason
    return known, ignored


def documents(order: Order, home: Home) -> Documents:
    """The experiences that the order brings, wherever they are. Raises BadInput.

    Reads and copies the drop-box file; it stays where it is, because Body removes it itself.
    """
    if order.dataset_path is None:
        some: Iterable[list[Any]] = [order.experiences or []]
    else:
        raw = _read_dropbox(home, order.dataset_path)
        if values_of(raw)[0] > MAX_DROPBOX_VALUES:
            raise TooLarge(f"the drop-box file holds more than {MAX_DROPBOX_VALUES} values; split it over several jobs")
        some = load_some(raw, _bearable)
    parts, items = [], 0
    for part, count in _pack(order.job, chain.from_iterable(some)):
        FORMATS[FORMAT].parse(part, order.job.job_id)
        parts.append(part)
        items += count
    return Documents(parts, items)


def _bearable(element: bytes | memoryview) -> None:
    """Raises TooLarge of what is too much for one experience, also if every letter of it takes six bytes here."""
    if len(element) > 6 * MAX_DOCUMENT_BYTES:
        raise TooLarge(f"an experience has {len(element)} bytes; send at most {MAX_DOCUMENT_BYTES} for one")
    bounded(element)


def _pack(job: JobRequest, items: Iterable[Any]) -> Iterator[tuple[bytes, int]]:
    """Documents of at most MAX_DOCUMENT_BYTES, and how many items each holds. The same items give the same identities.

    An item without an id of its own is named by its document and its place in it, so every document has its own name.
    """
    chunk, count, first = bytearray(), 0, 0
    for position, item in enumerate(items):
        raw = _written(item, position)
        if count and len(chunk) + len(raw) > MAX_DOCUMENT_BYTES:
            yield _document(job, first, chunk), count
            chunk, count, first = bytearray(), 0, position
        if count:
            chunk += b","
        chunk += raw  # kept for itself, each would take a kilobyte
        count += 1
    if count:
        yield _document(job, first, chunk), count


def _document(job: JobRequest, first: int, items: bytearray) -> bytes:
    name = f"{job.job_id}:{first}" if first else job.job_id
    head = orjson.dumps({"batch_id": name, "model_type": job.model_type})
    return b"".join((head[:-1], b',"experiences":[', items, b"]}"))


def _written(item: Any, position: int) -> bytes:  # noqa: ANN401 - any JSON value
    raw = orjson.dumps(item)
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise TooLarge(f"experience {position} has {len(raw)} bytes; send at most {MAX_DOCUMENT_BYTES} for one")
    return raw


# -- the drop-box ----------------------------------------------------------------------------------------------------


def _read_dropbox(home: Home, path: str) -> bytes:
    """The JSON in a drop-box file, gzipped or not."""
    raw = _read_file(_open_dropbox(home, path))
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    inflater = zlib.decompressobj(_GZIP)
    # what is small may be packed as it likes
    most = min(max(MAX_GZIP_RATIO * len(raw), MAX_DOCUMENT_BYTES), MAX_DROPBOX_BYTES)
    try:
        inflated = inflater.decompress(raw, most + 1)
    except zlib.error as damage:
        raise BadRequest(f"the drop-box file is no whole gzip file ({damage}); write it again") from None
    if len(inflated) > MAX_DROPBOX_BYTES:
        raise _too_large()
    if len(inflated) > most:
        raise BadRequest(f"the drop-box file unpacks to over {MAX_GZIP_RATIO} times its size; write it without gzip")
    if not inflater.eof or inflater.unused_data:
        raise BadRequest("the drop-box file is no whole gzip file; write it again")
    return inflated


def _open_dropbox(home: Home, path: str) -> int:
    """A descriptor of a file that lies directly in a drop-box; no link is followed, no pipe waited for."""
    name, parent = os.path.basename(path), os.path.dirname(path)  # noqa: PTH119, PTH120 - Path would drop a trailing /
    boxes = {box.resolve() for box in home.dropboxes}
    try:
        inside = os.path.isabs(path) and name not in ("", ".", "..") and Path(parent).resolve() in boxes  # noqa: PTH117
    except (OSError, ValueError, RuntimeError):  # a NUL, a loop of links
        inside = False
    if not inside:
        raise BadRequest(
            "dataset_path is not in the drop-box; write the file into"
            f" {' or '.join(str(box) for box in home.dropboxes)} (TRAINING_DROPBOX_DIR)"
        )
    try:
        box = os.open(Path(parent).resolve(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return os.open(name, _OPEN, dir_fd=box)
        finally:
            os.close(box)
    except (OSError, ValueError) as trouble:
        words = trouble.strerror if isinstance(trouble, OSError) else str(trouble)
        raise BadRequest(f"the drop-box file cannot be opened ({words}); write it before the request") from None


def _read_file(descriptor: int) -> bytes:
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
            raise BadRequest("the drop-box file is not a plain file of this user with one name; write a new one")
        with open(descriptor, "rb", closefd=False) as file:
            raw = file.read(min(status.st_size, MAX_DROPBOX_BYTES) + 1)  # so much memory is taken before it is read
    finally:
        os.close(descriptor)
    if len(raw) > MAX_DROPBOX_BYTES:
        raise _too_large()
    return raw


def _too_large() -> TooLarge:
    return TooLarge(f"the drop-box file holds more than {MAX_DROPBOX_BYTES} bytes; split it over several jobs")
