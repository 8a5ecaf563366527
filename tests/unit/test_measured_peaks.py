"""Does the planner's arithmetic give what real runs took? Against the committed rows of a measured grid."""

from __future__ import annotations

import pytest
from support.measured_peaks import BASE, PLATFORM, ROWS, Row

from reactord.jobs.correction import MEASURED_MARGIN
from reactord.memory import MEASURED, MIB, Coefficients, Sizes, train_peak_bytes

KNOWN = MEASURED[PLATFORM]
HALVES = (ROWS[::2], ROWS[1::2])


@pytest.fixture(autouse=True)
def with_bfloat16(monkeypatch):
    """The rows are of a CPU that has it."""
    monkeypatch.setattr("reactord.memory.has_bfloat16", lambda: True)


@pytest.fixture
def base(fast_dir):
    (fast_dir / "config.json").write_text(BASE)
    return fast_dir


def foretold(base, row: Row, known: Coefficients) -> float:
    rows = row.batch * (2 if row.recipe == "dpo" else 1)
    return train_peak_bytes(Sizes.of(base, row.rank), rows, row.length, known) / MIB


def fitted(base, rows: list[Row]) -> Coefficients:
    """The slope that the rows speak for; what the libraries take is measured by itself."""
    never = -(1 << 50)  # loading is not the peak
    products, squares = 0.0, 0.0
    for row in rows:
        still, one = (foretold(base, row, Coefficients(never, KNOWN.trainer_bytes, holes)) for holes in (0.0, 1.0))
        if foretold(base, row, KNOWN) > foretold(base, row, Coefficients(KNOWN.imported_bytes, never, 0.0)):
            slope, rest = (one - still) / row.measured, (row.measured - still) / row.measured
            products, squares = products + slope * rest, squares + slope * slope
    return Coefficients(KNOWN.imported_bytes, KNOWN.trainer_bytes, products / squares)


def test_the_grid_covers_what_it_should():
    assert {(row.recipe, row.rank == 0) for row in ROWS} == {(r, f) for r in ("sft", "dpo") for f in (True, False)}
    assert {row.length for row in ROWS} >= {128, 256, 512}
    assert {row.batch for row in ROWS} >= {1, 2}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_what_the_daemon_asks_for_is_within_fifteen_percent_above_and_five_below(base, row):
    assert 0.95 <= MEASURED_MARGIN * foretold(base, row, KNOWN) / row.measured <= 1.15


@pytest.mark.parametrize(("learned", "tested"), [HALVES, HALVES[::-1]])
def test_coefficients_of_one_half_of_the_rows_foretell_the_other_half(base, learned, tested):
    known = fitted(base, learned)

    for row in tested:
        assert 0.95 <= MEASURED_MARGIN * foretold(base, row, known) / row.measured <= 1.15, row
