"""How is a set of knobs declared and checked, without loading what checks them until there is something to check?

A set is a frozen dataclass of `Knobs`; the bounds stand in its annotations. Its defaults are right by definition, so
whoever changes nothing (`reactord plan` in most shells) never loads pydantic: 150 ms of CPU, twice as much as all the
rest. What somebody wrote is checked by `model_validate`, with pydantic's rules and words.

The methods carry pydantic's names, because they do what those do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Annotated, Any, ClassVar, Self, get_type_hints


class Field:
    """Bounds of a value: ge, gt, le, lt, pattern, max_length, as pydantic knows them."""

    def __init__(self, **bounds: Any) -> None:  # noqa: ANN401 - numbers and texts
        self.bounds = bounds

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:  # noqa: ANN401 - pydantic's
        import pydantic  # noqa: PLC0415 - see above

        return handler.generate_schema(Annotated[source, pydantic.Field(**self.bounds)])


class After:
    """A check of our own: takes the value, returns it or another one, or raises ValueError in plain words."""

    def __init__(self, check: Callable[[Any], Any]) -> None:
        self.check = check

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:  # noqa: ANN401 - pydantic's
        import pydantic  # noqa: PLC0415 - see above

        return handler.generate_schema(Annotated[source, pydantic.AfterValidator(self.check)])


@dataclass(frozen=True)
class Knobs:
    """A set of values with defaults. Constructing one checks nothing; `model_validate` does."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    @classmethod
    def model_validate(cls, values: Mapping[str, Any]) -> Self:
        """The defaults, and these values instead. Raises pydantic.ValidationError."""
        found: Self = _adapter(cls).validate_python(dict(values)) if values else cls()  # type: ignore[arg-type]  # a class is hashable
        return found

    def model_dump(self) -> dict[str, Any]:
        """The values by their names; a set within is a dictionary, too."""
        return asdict(self)

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """The same with other values, which are not checked."""
        return replace(self, **update)


@cache
def metadata_of(kind: type[Knobs]) -> dict[str, tuple[Any, ...]]:
    """What stands beside the type of each value, by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: getattr(hints[name], "__metadata__", ()) for name in (field.name for field in fields(kind))}


@cache
def _adapter(kind: Any) -> Any:  # noqa: ANN401 - its type would have to be imported
    import pydantic  # noqa: PLC0415 - see above

    return pydantic.TypeAdapter(kind)
