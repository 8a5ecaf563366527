"""Does Prime's watcher believe our manifests, and does it choose the chat template we mean?

The readers are rebuilt from contract/prime.md 2.2, 6.1 and 6.4.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from reactord.errors import BadRequest
from reactord.prime import template
from reactord.prime.manifest import Release, check, manifest

SHA = "0123456789abcdef" * 4


@pytest.fixture
def release() -> Release:
    return Release(
        source=Path("/jobs/42/artifacts/Q8_0.gguf"),
        sha256=SHA,
        model_id="jarvis-openhermes-smollm2-135m",
        version="v1.7-auto-2026-11-21",
        training_run_id="job-42",
        base_model="smollm2-135m-instruct",
        quantization="Q8_0",
        template="chatml",
        metrics={"loss": 0.52},
        created_at=1_795_281_095.0,
        training_config={"recipe": "dpo"},
    )


def where(release: Release) -> Path:
    return Path("/drop/pending") / f"{release.stem}.gguf"


def watcher_believes(raw: bytes) -> dict[str, Any] | None:
    """Fail-open: anything wrong and the manifest is ignored, checksum and version with it."""
    try:
        said = json.loads(raw)
        return {
            "model_id": said["model_id"],
            "version": said["version"],
            "run": said["training_run_id"],
            "base": said["base_model"],
            "quantization": said["quantization_method"],
            "file": Path(said["file_path"]).name,
            "sha256": said["sha256"],
            "at": datetime.fromisoformat(said["created_at"]),
        }
    except (KeyError, ValueError, TypeError):
        return None


PRIMES_WORDS = {
    "llama-3": "llama3",
    "llama3": "llama3",
    "meta-llama-3": "llama3",
    "llama-2": "llama2",
    "llama2": "llama2",
    "tinyllama": "tinyllama",
    "mistral": "chatml",
    "mixtral": "chatml",
    "openhermes": "chatml",
    "phi-3": "phi3",
    "phi3": "phi3",
    "gemma": "gemma",
}


def prime_chooses(path: Path, *, words: dict[str, str]) -> str:
    """The stem of the resolved file decides; the first word found in it wins; nothing found is llama3."""
    stem = path.resolve().stem.lower()
    return next((chosen for word, chosen in words.items() if word in stem), "llama3")


def test_the_watcher_believes_every_field_of_our_manifest(release: Release) -> None:
    believed = watcher_believes(manifest(release, where(release)))

    assert believed is not None
    assert believed["at"].isoformat() == "2026-11-21T17:11:35+00:00"
    assert (believed["model_id"], believed["version"]) == (release.model_id, release.version)
    assert (believed["run"], believed["sha256"], believed["quantization"]) == ("job-42", SHA, "Q8_0")
    assert believed["file"] == f"{release.stem}.gguf"


def test_the_same_release_gives_the_same_bytes(release: Release) -> None:
    assert manifest(release, where(release)) == manifest(replace(release), where(release))


def test_the_registry_reads_our_version(release: Release) -> None:
    assert re.match(r"^v(\d+)\.(\d+)(?:-([a-zA-Z]+))?(?:-(\d{4}-\d{2}-\d{2}))?$", release.version)


@pytest.mark.parametrize("key", ["model_id", "version", "training_run_id", "base_model", "quantization_method"])
@pytest.mark.parametrize("value", [None, "", 7, ["x"]])
def test_a_manifest_that_the_watcher_would_ignore_is_never_written(release: Release, key: str, value: object) -> None:
    said = json.loads(manifest(release, where(release)))
    for broken in (said | {key: value}, {name: field for name, field in said.items() if name != key}):
        with pytest.raises(BadRequest, match=key):
            check(json.dumps(broken).encode(), where(release))


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("sha256", SHA.upper(), "lower-case"),
        ("sha256", SHA[:-1], "64"),
        ("sha256", SHA + "\n", "64"),
        ("created_at", "2026-11-21T17:11:35Z", "00:00"),
        ("created_at", "2026-11-21T17:11:35", "00:00"),
        ("created_at", "yesterday", "00:00"),
        ("model_id", "org/name", "file name"),
        ("model_id", ".hidden", "file name"),
        ("version", "20260110", "v1.2"),
        ("version", "v1.7-auto-2", "v1.2"),
        ("version", "v1.7-auto-2026-11-21/..", "v1.2"),
        ("file_path", "/drop/pending/other.gguf", "called"),
        ("metrics", {}, "loss"),
        ("metrics", {"loss": "0.5"}, "loss"),
        ("metrics", None, "objects"),
        ("training_config", [], "objects"),
    ],
)
def test_each_rule_of_a_reader_is_checked(release: Release, key: str, value: object, complaint: str) -> None:
    said = json.loads(manifest(release, where(release))) | {key: value}
    with pytest.raises(BadRequest, match=complaint):
        check(json.dumps(said).encode(), where(release))


def test_no_number_that_strict_json_does_not_know_reaches_prime(release: Release) -> None:
    for wrong in (
        replace(release, metrics={"loss": float("nan")}),
        replace(release, metrics={"loss": 1.0, "kl": float("inf")}),
        replace(release, training_config={"lr": float("nan")}),
        replace(release, training_config={"path": Path("/x")}),
    ):
        with pytest.raises(BadRequest, match="no JSON"):
            manifest(wrong, where(wrong))


def test_current_gguf_gets_the_template_of_the_file_it_points_to(release: Release, tmp_path: Path) -> None:
    placed = tmp_path / f"{release.stem}.gguf"
    placed.touch()
    (tmp_path / "current.gguf").symlink_to(placed.name)

    assert prime_chooses(tmp_path / "current.gguf", words=PRIMES_WORDS) == "chatml"
    assert prime_chooses(placed, words=PRIMES_WORDS | {"qwen": "chatml"}) == "chatml"


@pytest.mark.parametrize(
    "stem",
    [
        "tinyllama-20260110",
        "tinyllama-3.0",
        "jarvis-tinyllama-v1.3-auto-2026-11-21",
        "Meta-Llama-3-8B",
        "openhermes-2.5-mistral",
        "gemma-openhermes",
        "phi-3-mini",
    ],
)
def test_our_rule_is_primes_rule(stem: str, tmp_path: Path) -> None:
    chosen = prime_chooses(tmp_path / f"{stem}.gguf", words=PRIMES_WORDS)
    others = set(PRIMES_WORDS.values()) - {chosen}

    template.require(stem, chosen)
    for other in others:
        with pytest.raises(BadRequest):
            template.require(stem, other)


@pytest.mark.parametrize("stem", ["qwen2.5-1.5b-v1.0", "jarvis-smollm2-135m-v1.0-auto-2026-11-21", ""])
def test_a_name_without_a_family_is_refused_also_for_what_prime_falls_back_to(stem: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="falls back to llama3"):
        template.require(stem, prime_chooses(tmp_path / f"{stem}.gguf", words=PRIMES_WORDS))


@pytest.mark.parametrize(
    ("model_id", "intended"),
    [
        ("jarvis-smollm2-135m", "chatml"),  # says nothing: Prime would take llama3
        ("jarvis-smollm2-135m", "llama3"),  # right by accident, until Prime learns another word
        ("jarvis-qwen", "llama3"),
        ("tinyllama-openhermes", "chatml"),  # says two things, and the first wins
        ("jarvis-openhermes", "llama3"),
    ],
)
def test_a_name_that_does_not_say_its_template_is_refused_with_the_words_that_would(
    release: Release, model_id: str, intended: str
) -> None:
    wrong = replace(release, model_id=model_id, template=intended)
    with pytest.raises(BadRequest, match=r"contains one of (openhermes|mistral|llama-3)"):
        manifest(wrong, where(wrong))


def test_a_template_that_prime_does_not_have_is_refused(release: Release) -> None:
    wrong = replace(release, template="zephyr")
    with pytest.raises(BadRequest, match=r"knows no chat template 'zephyr'.*chatml"):
        manifest(wrong, where(wrong))


@pytest.mark.parametrize(
    ("jinja", "family"),
    [
        (
            "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>'}}{% endfor %}",
            "chatml",
        ),
        ("{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>' }}", "llama3"),
        ("{{ bos_token + '[INST] <<SYS>>' + system + '<</SYS>>' + m['content'] + ' [/INST]' }}", "llama2"),
        ("{{ '<|user|>' + m['content'] + eos_token + '<|assistant|>' }}", "tinyllama"),
        ("{{ '<|user|>' + m['content'] + '<|end|>' + '<|assistant|>' }}", "phi3"),
        ("{{ '<start_of_turn>' + m['role'] }}", "gemma"),
    ],
)
def test_a_models_own_template_is_recognised_and_can_be_named_for_prime(jinja: str, family: str) -> None:
    assert template.family_of(jinja) == family
    assert family in set(PRIMES_WORDS.values())


@pytest.mark.parametrize("jinja", ["", "{{ '[INST] ' + m['content'] + ' [/INST]' }}", "{{ '### User: ' }}"])
def test_a_base_whose_template_prime_has_not_is_refused_under_every_name(release: Release, jinja: str) -> None:
    for model_id in ("jarvis-mistral", "jarvis-llama2", "jarvis-openhermes", "jarvis"):
        wrong = replace(release, model_id=model_id, template=template.family_of(jinja))
        with pytest.raises(BadRequest, match="knows no chat template"):
            manifest(wrong, where(wrong))
