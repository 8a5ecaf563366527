"""Do our versions grow, order as numbers, and reach Prime without two becoming one?"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.errors import BadRequest
from reactord.jobs.versions import Version, for_prime, next_version, parse

NOVEMBER = 1_795_281_095.0  # 2026-11-21 in UTC
#: contract/prime.md 6.1: what Prime's model registry reads
PRIMES_PATTERN = re.compile(r"^v(\d+)\.(\d+)(?:-([a-zA-Z]+))?(?:-(\d{4}-\d{2}-\d{2}))?$")

versions = st.builds(Version, st.integers(0, 999), st.integers(0, 9999), st.integers(0, 99))


def test_the_first_version_is_one_and_every_run_makes_a_minor_step() -> None:
    first = next_version([])
    second = next_version([first])

    assert (first, second, next_version([second, first])) == ("v1.0.0", "v1.1.0", "v1.2.0")


def test_the_tenth_version_comes_after_the_ninth() -> None:
    assert next_version(["v1.9.0", "v1.10.0", "v1.2.0"]) == "v1.11.0"
    assert parse("v1.9.0") < parse("v1.10.0") < parse("v2.0.0")


def test_a_version_that_prime_knows_counts_too() -> None:
    assert next_version(["v1.1.0", "v1.4-rollback-2026-11-20"]) == "v1.5.0"


@pytest.mark.parametrize(
    "text", ["", "1.0.0", "v1.0", "v01.0.0", "v1.0.0\n", "v1.0.0-rc1", "latest", "v1.-1.0", "v1.1-Auto-2026-11-21"]
)
def test_a_text_that_is_no_version_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadRequest, match=r"write it like v1\.2\.0"):
        next_version(["v1.0.0", text])


@given(versions)
def test_writing_and_reading_a_version_changes_nothing(version: Version) -> None:
    assert parse(str(version)) == version


@given(st.lists(versions.map(str)))
def test_the_next_version_is_higher_than_all_before(existing: list[str]) -> None:
    following = parse(next_version(existing))

    assert all(parse(text) < following for text in existing)


def test_prime_gets_the_shape_that_all_its_readers_understand() -> None:
    told = for_prime("v1.7.0", NOVEMBER)

    assert told == "v1.7-auto-2026-11-21"
    assert PRIMES_PATTERN.match(told)
    assert for_prime("v1.8.0", NOVEMBER, "rollback") == "v1.8-rollback-2026-11-21"


@given(st.lists(versions, min_size=2, max_size=2, unique=True))
def test_two_versions_are_never_told_to_prime_as_one(pair: list[Version]) -> None:
    told = []
    for version in pair:
        try:
            told.append(for_prime(str(version), NOVEMBER))
        except BadRequest:
            assert version.patch

    assert len(set(told)) == len(told)
    assert all(PRIMES_PATTERN.match(text) for text in told)


def test_a_patch_number_is_not_dropped_silently() -> None:
    with pytest.raises(BadRequest, match="next minor version"):
        for_prime("v1.7.1", NOVEMBER)
    with pytest.raises(BadRequest, match="small letters"):
        for_prime("v1.7.0", NOVEMBER, "Auto-2")
