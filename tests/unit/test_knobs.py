"""Are knobs checked as pydantic checks them, and is pydantic left out while there is nothing to check?"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ValidationError

from reactord.hyper import Hyper
from reactord.knobs import After, Field, Knobs, metadata_of


def _even(number: int) -> int:
    if number % 2:
        raise ValueError("choose an even one")
    return number


@dataclass(frozen=True)
class Inner(Knobs):
    depth: Annotated[int, Field(ge=1)] = 1


@dataclass(frozen=True)
class Some(Knobs):
    ratio: Annotated[float | None, Field(gt=0, le=1), "said beside it"] = 0.5
    even: Annotated[int, After(_even)] = 2
    word: Annotated[str, Field(pattern="^a+$", max_length=3)] = "a"
    path: Path | None = None
    inner: Inner = field(default_factory=Inner)


def test_what_is_given_is_converted_and_the_rest_is_the_default():
    found = Some.model_validate({"ratio": "0.25", "path": "/x", "inner": {"depth": "3"}})

    assert found == Some(ratio=0.25, path=Path("/x"), inner=Inner(depth=3))
    assert Some.model_validate({"ratio": None}).ratio is None
    assert Some.model_validate({}) == Some()


@pytest.mark.parametrize(
    ("values", "where"),
    [({"ratio": 0}, "ratio"), ({"ratio": 1.1}, "ratio"), ({"ratio": float("nan")}, "ratio"), ({"even": 3}, "even"),
     ({"word": "b"}, "word"), ({"word": "aaaa"}, "word"), ({"inner": {"depth": 0}}, "inner"), ({"odd": 1}, "odd"),
     ({"inner": {"x": 1}}, "inner")],
)  # fmt: skip
def test_what_is_out_of_bounds_or_unknown_is_refused_where_it_stands(values, where):
    with pytest.raises(ValidationError) as refused:
        Some.model_validate(values)

    assert refused.value.errors()[0]["loc"][0] == where


def test_a_set_is_frozen_copied_and_dumped():
    with pytest.raises(FrozenInstanceError):
        Some().even = 4
    copy = Some().model_copy(update={"even": 4})

    assert (copy.even, Some().even) == (4, 2)
    assert Some.model_validate(copy.model_dump()) == copy
    assert copy.model_dump()["inner"] == {"depth": 1}


def test_what_stands_beside_a_type_is_found():
    assert metadata_of(Some)["ratio"][1] == "said beside it"
    assert metadata_of(Some)["path"] == ()
    assert set(metadata_of(Some)) == {"ratio", "even", "word", "path", "inner"}


def test_a_pydantic_model_holds_a_set_and_checks_it():
    class Outer(BaseModel):
        hyper: Hyper = Hyper()

    made = Outer.model_validate({"hyper": {"max_steps": 3}})

    assert made.hyper == Hyper(max_steps=3)
    assert Outer.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(ValidationError):
        Outer.model_validate({"hyper": {"max_steps": 0}})


def test_defaults_need_no_pydantic():
    script = "import sys; from reactord.settings import Settings; Settings(); Settings.model_validate({});"
    done = subprocess.run([sys.executable, "-c", script + "print(*sys.modules)"], capture_output=True, text=True,
                          timeout=60, check=True)  # fmt: skip

    assert "reactord.settings" in done.stdout.split()
    assert "pydantic" not in done.stdout.split()
