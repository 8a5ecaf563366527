"""What does one line of `reactor/training_data/scraped_training_*.jsonl` say? (contract/body.md 3.5)

A text that Body's indexer found on the web, with its address; or a question and answer made of one.
"""

from __future__ import annotations

from pydantic import RootModel

from reactord.formats.door import Door, Format
from reactord.formats.instructions import Instruction
from reactord.formats.records import Item, Record, content_identity, identity_of, load_object
from reactord.formats.schema import Document, Id, Object, require


class ScrapedText(Document):
    """One text."""

    text: str
    id: Id = None
    metadata: Object = None


class Scraped(RootModel[ScrapedText | Instruction]):
    """One line of what was scraped."""


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one line. Raises BadRecord when it holds no text."""
    body = load_object(raw)
    require(Scraped, body)
    return [Record(identity_of(body, ("id",), "") or content_identity(where, raw), body)]


FORMAT = Format(
    "scraped",
    parse,
    (Door("tail", "reactor/training_data", r"scraped_training_[^/]*\.jsonl"),),
    schema=Scraped,
    lines=True,
)
