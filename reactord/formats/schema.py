"""What may a document say, and how do we tell a sender what is wrong with one?

A schema is tolerant of fields it does not know (they are kept) and strict about the ones we read. `require` checks a
document against its schema; its words are the same for the ledger's reasons and for `reactord check-file`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reactord.errors import BadRecord

#: of every schema here; a change that refuses what was accepted before is a new number
SCHEMA_VERSION = "1.0"


class Document(BaseModel):
    """A JSON object. Unknown fields are kept."""

    # deferred: what is never checked is never built, and the daemon starts sooner
    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)


Text = str | None
Number = float | None
Object = dict[str, Any] | None
Flag = bool | None
Id = Annotated[
    Any,
    Field(description="a string of 1 to 256 characters; anything else is no id, and the place and bytes identify it"),
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a document."""

    field: str  # dotted; empty: the document itself
    problem: str
    cure: str

    def words(self) -> str:
        """As a reason: its first part, up to the colon, is what the ledger counts."""
        return f"{self.field or 'the document'} {self.problem}: {self.cure}"


#: what a JSON value is called
KINDS = {
    dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip
#: by pydantic's name of the error: what is expected instead
_EXPECTED = {
    "string_type": "a string", "float_type": "a number", "int_type": "a whole number", "bool_type": "true or false",
    "dict_type": "an object", "list_type": "a list", "model_type": "an object", "model_attributes_type": "an object",
}  # fmt: skip


def problems(schema: type[BaseModel], value: object) -> list[Problem]:
    """What is wrong with a document; nothing for one that fits. Of several forms, the nearest one counts."""
    try:
        schema.model_validate(value)
    except ValidationError as refused:
        return _nearest(schema, refused)
    return []


def require(schema: type[BaseModel], value: object) -> None:
    """Raise BadRecord, in words, when the document does not fit."""
    if found := problems(schema, value):
        raise BadRecord(found[0].words())


def _nearest(schema: type[BaseModel], refused: ValidationError) -> list[Problem]:
    forms: dict[str, list[Problem]] = {}
    several = "root" in schema.model_fields
    for error in refused.errors(include_url=False):
        place = list(error["loc"])
        form = str(place.pop(0)) if several and place else ""
        field = ".".join(str(part) for part in place if not _is_tag(part))
        _add(forms.setdefault(form, []), _problem(field, error["type"], error))
    return min(forms.values(), key=_distance)


def _distance(found: list[Problem]) -> tuple[bool, int, int]:
    """How far a document is from a form: another kind of value, then more fields amiss, then amiss further outside."""
    depth = max(problem.field.count(".") for problem in found)
    return any(not problem.field for problem in found), len(found), -depth


def _is_tag(part: int | str) -> bool:
    """Whether pydantic names one kind of several here, and no field: fields are written small, and none so."""
    return isinstance(part, str) and (part in ("str", "int", "float", "bool") or part[:1].isupper())


def _add(found: list[Problem], problem: Problem) -> None:
    """A field that may be of two kinds and is of neither is one problem."""
    if found and problem.field and found[-1].field == problem.field:
        problem = Problem(
            problem.field,
            f"{found[-1].problem} or {problem.problem.removeprefix('is not ')}",
            f"{found[-1].cure} or {problem.cure.partition('; write ')[2] or problem.cure}",
        )
        found.pop()
    found.append(problem)


def _problem(field: str, kind: str, error: Any) -> Problem:  # noqa: ANN401 - pydantic's own TypedDict
    if kind == "missing":
        return Problem(field, "is missing", "add it")
    is_now = KINDS.get(type(error["input"]), "something else")
    if expected := _EXPECTED.get(kind):
        return Problem(field, f"is not {expected}", f"it is {is_now}; write {expected}")
    message = str(error["msg"]).removeprefix("Value error, ")
    return Problem(field, "is not accepted", f"{message[:1].lower()}{message[1:]}")
