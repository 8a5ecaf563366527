"""The power goes at any system call, on a real ext4 and a real XFS: their recovery runs, then ours; nothing is lost."""

from __future__ import annotations

import shutil

import pytest
from crash.ingest_world import LostOrDoubled, make_bus
from crash.recovery import live, recover
from support import crashes, loops
from support.forked import DIED

from reactord.home import Home


def unavailable(kind):
    return crashes.missing() or loops.missing(kind)


@pytest.fixture
def image(request, fast_dir):
    """A file system with a bus on it that survives anything, unmounted; always unmounted in the end."""
    if reason := unavailable(request.param):
        pytest.skip(reason)
    made = loops.Image(request.param, fast_dir)
    with made.mounted() as root:
        make_bus(Home(root / "jarvis"))
    shutil.copyfile(made.file, fast_dir / "template.img")
    yield made
    made.unmount()


def cut(image, point, mutate=lambda: None):
    """Kill at the point, cut the power at once, recover. Was it killed? Raises LostOrDoubled."""
    shutil.copyfile(image.directory / "template.img", image.file)
    with image.mounted() as root:
        status = crashes.run(live, root / "jarvis", mutate, kill_at=point)
        assert status in (0, DIED)
        image.lose_power()
        recover(root / "jarvis", mutate)
    return status == DIED


def every_point(image, log):
    with image.mounted() as root:
        assert crashes.run(live, root / "jarvis", log=str(log)) == 0
    return crashes.calls(log)


@pytest.mark.parametrize("image", ["ext4", "xfs"], indirect=True)
def test_power_that_goes_at_any_system_call_costs_no_record_and_doubles_none(image, fast_dir):
    killed, bad = 0, []
    for point in every_point(image, fast_dir / "strace"):
        try:
            killed += cut(image, point)
        except LostOrDoubled as wrong:
            bad.append((point, str(wrong)[:200]))

    print(f"{image.kind}: the power went at {killed} system calls, {len(bad)} bad")
    assert bad == []
    assert killed > 80


@pytest.mark.parametrize("image", ["ext4", "xfs"], indirect=True)
def test_the_power_is_really_cut(image):
    with image.mounted() as root:
        (root / "never synced").write_text("x")
        image.lose_power()

        assert not (root / "never synced").exists()
