"""What does Prime's watcher find, and what does it make of it? Rebuilt from contract/prime.md section 2.

With its habits: no wait for stability, hidden files matched, a manifest that fails open, a plain copy into the models
directory.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from reactord.prime.manifest import Release

CONTENT = b"GGUF" + bytes(range(256)) * 11


def make_release(tmp_path: Path, minor: int, content: bytes = CONTENT) -> Release:
    source = tmp_path / "job" / f"artifact-{minor}.gguf"
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(content)
    return Release(
        source=source,
        sha256=hashlib.sha256(content).hexdigest(),
        model_id="jarvis-openhermes-smollm2-135m",
        version=f"v1.{minor}-auto-2026-11-21",
        training_run_id=f"job-{minor}",
        base_model="smollm2-135m-instruct",
        quantization="Q8_0",
        template="chatml",
        metrics={"loss": 0.52},
        created_at=1_795_281_095.0,
    )


def in_sight(*directories: Path) -> list[Path]:
    """What a glob for *.gguf finds; like Prime's, it finds hidden files too."""
    return [path for directory in directories if directory.is_dir() for path in directory.glob("*.gguf")]


def assert_nothing_partial(models: Path, drop: Path, *releases: Release) -> None:
    whole = {release.sha256 for release in releases}
    for path in in_sight(models, drop / "pending", drop / "deployed"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in whole, path
    for path in in_sight(drop / "pending"):
        said = json.loads(path.with_suffix(".json").read_bytes())
        assert said["sha256"] in whole


class Watcher:
    """Prime A's ReactorCoreWatcher at its start scan."""

    def __init__(self, drop: Path, models: Path) -> None:
        self.drop, self.models = drop, models
        self.unchecked: list[str] = []

    def scan(self) -> None:
        for path in sorted((self.drop / "pending").glob("*.gguf")):
            try:
                self.deploy(path)
            except (OSError, shutil.Error, ValueError):
                shutil.move(path, self.drop / "failed" / path.name)

    def deploy(self, path: Path) -> None:
        try:
            said = json.loads(path.with_suffix(".json").read_bytes())
            name = f"{said['model_id']}-{said['version']}.gguf"
        except (OSError, ValueError, KeyError):
            said, name = {"sha256": ""}, f"{path.stem}-v20261121-101010.gguf"
            self.unchecked.append(path.name)
        data = path.read_bytes()
        if len(data) < 1024 or data[:4] != b"GGUF":
            raise ValueError(path)
        if said["sha256"] and hashlib.sha256(data).hexdigest() != said["sha256"]:
            raise ValueError(path)
        shutil.copy2(path, self.models / name)
        for moved in (path, path.with_suffix(".json")):
            shutil.move(moved, self.drop / "deployed" / moved.name)
