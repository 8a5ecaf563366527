"""Does the kernel say that memory is short, and are its words understood?"""

from __future__ import annotations

import pytest

from reactord.jobs import scarcity as module
from reactord.jobs.scarcity import of_level, of_pressure, scarcity

PSI = "some avg10={some} avg60=0.00 avg300=0.00 total=9884\nfull avg10={full} avg60=0.00 avg300=0.00 total=3076\n"


@pytest.mark.parametrize(
    ("some", "full", "severe"),
    [("0.00", "0.00", None), ("9.99", "9.99", None), ("10.00", "0.00", False), ("99.00", "9.99", False),
     ("10.00", "10.00", True)],
)  # fmt: skip
def test_linux_says_how_long_tasks_waited_for_memory(some, full, severe):
    found = of_pressure(PSI.format(some=some, full=full))

    assert (found and found.severe) == severe
    assert found is None or f"{float(full if severe else some):.0f} % of the last 10 s" in found.words


@pytest.mark.parametrize("text", ["", "some", "some avg10=", "some avg10=nan x", "full avg10=-1", "\x00", "some avg10"])
def test_what_cannot_be_read_says_nothing(text):
    assert of_pressure(text) is None


@pytest.mark.parametrize(("level", "severe"), [(None, None), (0, None), (1, None), (2, False), (4, True), (7, None)])
def test_a_mac_says_its_level(level, severe):
    found = of_level(level)

    assert (found and found.severe) == severe


def test_this_machine_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module, "PRESSURE", tmp_path / "memory")
    assert scarcity() is None  # an old kernel
    (tmp_path / "memory").write_text(PSI.format(some="50.00", full="20.00"))
    assert scarcity().severe
    monkeypatch.setattr(module.sys, "platform", "darwin")
    monkeypatch.setattr(module, "_level", lambda: 2)
    assert scarcity().words == "macOS warns of memory pressure"
