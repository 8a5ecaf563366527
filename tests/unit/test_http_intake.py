from __future__ import annotations

import gzip
import json
import os
import socket
import tracemalloc
from typing import Any

import orjson
import pytest

from reactord.errors import BadInput
from reactord.formats import FORMATS, Record
from reactord.formats.records import load_object
from reactord.home import Home
from reactord.http import intake
from reactord.http.bodies import checked
from reactord.http.intake import StartBody, documents, understand
from reactord.http.refusals import TooLarge


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "jarvis")
    home.create()
    return home


def _understood(raw: bytes, now: float = 0.0) -> intake.Order:
    return understand(checked(StartBody, load_object(raw)), now)


def order(**body: Any) -> intake.Order:
    return _understood(json.dumps({"job_id": "a1", "model_type": "llm"} | body).encode())


def _zipped(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)  # the same bytes in every run, because they name the tests


def identities(raw: list[bytes]) -> list[str]:
    return [
        record.identity
        for part in raw
        for record in FORMATS["experiences"].parse(part, "x")
        if isinstance(record, Record)
    ]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "a JSON object is expected"),
        (b"7", "a JSON object is expected"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested deeper"),
        (b'{"job_id": 7}', "`job_id`"),
        (b'{"job_id": "../../etc"}', "`job_id`"),
        (b'{"job_id": "a\\n"}', "`job_id`"),
        (b'{"job_id": ""}', "`job_id`"),
        (b'{"job_id": "%s"}' % (b"a" * 129), "`job_id`"),
        (b'{"needs_experiences": -1}', "`needs_experiences`"),
        (b'{"needs_experiences": "many"}', "`needs_experiences`"),
        (b'{"needs_dataset": "../x"}', "`needs_dataset`"),
        (b'{"model_type": null}', "`model_type`"),
        (b'{"model_type": "music"}', "model_type is not known"),
        (b'{"experiences": {"a": 1}}', "`experiences`"),
        (b'{"experiences": "all"}', "`experiences`"),
        (b'{"dataset_path": 7}', "`dataset_path`"),
        (b'{"use_dropbox": "yes"}', "`use_dropbox`"),
        (b'{"use_dropbox": true}', "needs `dataset_path`"),
        (b'{"experiences": [], "dataset_path": "/x"}', "not both"),
        (b'{"config": [1]}', "`config`"),
        (b'{"priority": 1}', "`priority`"),
        (b'{"recipe": "xyz"}', "choose one of dpo, sft"),
        (b'{"recipe": "%s"}' % (b"x" * 4000), "choose one of dpo, sft"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_words(raw, words):
    with pytest.raises(BadInput, match=words) as refused:
        _understood(raw)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("kind", ["voice", "vision", "embedding", "classifier"])
def test_typed_heads_are_refused_and_it_is_said_that_nothing_was_taken(kind):
    with pytest.raises(BadInput, match=r"not in this version; the experiences were not taken"):
        order(model_type=kind, experiences=[{}])


@pytest.mark.parametrize("kind", ["llm", "language", "nlu"])
def test_language_is_taken(kind):
    assert order(model_type=kind).job.model_type == kind


def test_the_whole_request_of_body_is_understood():
    understood = order(
        experiences=[{"experience_id": "e1"}], config={}, epochs=10, checkpoint_enabled=True, checkpoint_interval=10
    )
    assert understood.job.born_of == "http"
    assert understood.experiences == [{"experience_id": "e1"}]


def test_a_request_may_say_which_data_its_job_waits_for():
    job = order(needs_experiences=50, needs_dataset="job-1").job

    assert (job.needs_experiences, job.needs_dataset) == (50, "job-1")
    assert order().job.needs_experiences is None


def test_a_job_without_an_id_gets_one_and_the_command_line_is_told_from_body():
    understood = _understood(b'{"source": "reactord-cli"}', now=1234.0)
    assert understood.job.job_id.startswith("job-1234-")
    assert understood.job.born_of == "cli"
    assert understood.job.model_type == "llm"


def test_of_a_foreign_config_only_our_numbers_in_their_bounds_are_used():
    understood = _understood(
        b'{"config": {"max_steps": 12, "learning_rate": NaN, "beta": 11, "lora_rank": "8", "sft_weight": true,'
        b' "pairs_per_step": 2.5, "max_length_tokens": 1e400, "keep_checkpoints": 1%s, "optimizer": "adam"}}'
        % (b"0" * 400)
    )
    assert understood.job.hyper == {"max_steps": 12}
    assert set(understood.ignored) == {
        "learning_rate", "beta", "lora_rank", "sft_weight", "pairs_per_step", "max_length_tokens", "keep_checkpoints",
        "optimizer",
    }  # fmt: skip
    assert understood.ignored["beta"] == "Input should be less than or equal to 10"
    assert understood.ignored["optimizer"] == "not a number of ours"


def test_a_thousand_foreign_keys_are_not_echoed():
    assert len(order(config={"k" * 500 + str(i): i for i in range(1000)}).ignored) <= intake.MAX_ECHOED


def test_ten_thousand_inline_items_become_documents_that_can_be_read_back(home, monkeypatch):
    monkeypatch.setattr(intake, "MAX_DOCUMENT_BYTES", 100_000)
    items = [{"input": "a" * 50, "n": i} for i in range(10_000)]
    taken = documents(order(experiences=items), home)
    assert taken.items == 10_000
    assert all(len(part) < 101_000 for part in taken.parts)
    assert [item for part in taken.parts for item in orjson.loads(part)["experiences"]] == items
    names = identities(taken.parts)
    assert len(set(names)) == 10_000


def test_items_without_an_id_are_named_by_job_and_place_so_a_retry_names_them_alike(home):
    first, second = (documents(order(experiences=[{"a": 1}, {"b": 2}]), home) for _ in range(2))
    assert identities(first.parts) == identities(second.parts) == ["a1:0", "a1:1"]


def test_an_item_that_is_too_large_for_a_document_is_refused(home):
    with pytest.raises(TooLarge, match="experience 1 has"):
        documents(order(experiences=[{}, {"a": "x" * (4 * 1024 * 1024)}]), home)


def test_items_that_are_no_objects_are_left_to_the_ledger_to_count(home):
    taken = documents(order(experiences=[1, None, {"experience_id": "e"}]), home)
    assert taken.items == 3
    assert identities(taken.parts) == ["e"]


def test_no_experiences_are_no_documents(home):
    assert documents(order(), home).parts == []
    assert documents(order(experiences=[]), home).parts == []


# -- the drop-box ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_a_dropbox_file_is_read_whatever_it_is_called_and_left_where_it_is(home, pack):
    path = home.staging / "a1.json.gz"
    path.write_bytes(pack(json.dumps([{"experience_id": "e1"}, {"experience_id": "e2"}]).encode()))
    taken = documents(order(dataset_path=str(path), use_dropbox=True), home)
    assert identities(taken.parts) == ["e1", "e2"]
    assert path.exists()


def test_the_dropbox_may_be_where_body_was_told_to_put_it(home, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINING_DROPBOX_DIR", str(tmp_path / "box"))
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "a1.json.gz").write_bytes(b"[{}]")
    assert documents(order(dataset_path=str(tmp_path / "box" / "a1.json.gz")), home).items == 1


def test_a_home_behind_a_link_is_the_same_home(home, tmp_path):
    (tmp_path / "link").symlink_to(home.root)
    (home.staging / "a1.json").write_bytes(b"[{}]")
    linked = Home(tmp_path / "link")
    assert documents(order(dataset_path=str(home.staging / "a1.json")), linked).items == 1


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "a1.json",
        "{staging}/../../secret.json",
        "{staging}/../training_staging/../../secret.json",
        "{staging}/sub/a1.json",
        "{staging}",
        "{staging}/",
        "{staging}/.",
        "{staging}/..",
        "{staging}/link_out/secret.json",
        "{staging}/a\x00.json",
        "/x\x00/a.json",
        "",
    ],
)
def test_a_path_outside_the_dropbox_is_not_opened(home, path):
    (home.root / "secret.json").write_text('[{"secret": 1}]')
    (home.staging / "link_out").symlink_to(home.root)
    (home.staging / "sub").mkdir()
    (home.staging / "sub" / "a1.json").write_text("[]")
    with pytest.raises(BadInput, match=r"not in the drop-box|cannot be opened"):
        documents(order(dataset_path=path.format(staging=home.staging)), home)


@pytest.mark.parametrize("kind", ["missing", "symlink", "fifo", "directory", "hard link", "socket"])
def test_what_is_no_plain_file_of_its_own_is_not_read(home, kind, monkeypatch):
    path, secret = home.staging / "a1.json", home.root / "secret.json"
    secret.write_text("[]")
    if kind == "symlink":
        path.symlink_to(secret)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "hard link":
        os.link(secret, path)
    elif kind == "socket":
        monkeypatch.chdir(home.staging)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("a1.json")
    with pytest.raises(BadInput, match=r"cannot be opened|not a plain file"):
        documents(order(dataset_path=str(path)), home)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not JSON"),
        (b"{}", "no JSON list"),
        (b'"text"', "no JSON list"),
        (b"[1,", "not JSON"),
        (b"[" * 65 + b"]" * 65, "nested deeper"),
        (_zipped(b"[]")[:-4], "no whole gzip"),
        (_zipped(b"[]")[:-8] + b"\0" * 8, "no whole gzip"),
        (_zipped(b"[]") + b"tail", "no whole gzip"),
        (b"\x1f\x8bjunk", "no whole gzip"),
    ],
)
def test_a_dropbox_file_that_is_no_list_is_refused(home, raw, words):
    path = home.staging / "a1.json.gz"
    path.write_bytes(raw)
    with pytest.raises(BadInput, match=words):
        documents(order(dataset_path=str(path)), home)


def test_a_list_one_level_too_deep_for_its_document_is_refused_before_the_journal(home):
    path = home.staging / "a1.json"
    path.write_bytes(b"[" * 64 + b"]" * 64)
    with pytest.raises(BadInput, match="nested deeper"):
        documents(order(dataset_path=str(path)), home)


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip bomb", "plain"])
def test_a_dropbox_file_that_grows_too_large_is_refused(home, pack, monkeypatch):
    monkeypatch.setattr(intake, "MAX_DROPBOX_BYTES", 1000)
    path = home.staging / "a1.json.gz"
    path.write_bytes(pack(b"[" + b" " * 100_000 + b"]"))
    with pytest.raises(TooLarge, match="split it over several jobs"):
        documents(order(dataset_path=str(path)), home)


def test_a_gzip_bomb_in_the_dropbox_is_not_unpacked(home):
    path = home.staging / "a1.json.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * 30_000_000 + b"]"))
    assert path.stat().st_size < 64 * 1024
    tracemalloc.start()
    with pytest.raises(BadInput, match="500 times its size"):
        documents(order(dataset_path=str(path)), home)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 2.2 * intake.MAX_GZIP_RATIO * path.stat().st_size  # a buffer grows by doubling


def test_a_small_file_may_be_packed_as_well_as_it_can_be(home):
    path = home.staging / "a1.json.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * 1_000_000 + b"{}]"))
    assert documents(order(dataset_path=str(path)), home).items == 1


@pytest.mark.parametrize("value", [b"[]", b"{}", b"0"])
def test_a_dropbox_file_of_too_many_values_is_refused_before_it_is_parsed(home, value):
    path = home.staging / "a1.json"
    path.write_bytes(b"[" + b",".join([value] * (intake.MAX_DROPBOX_VALUES + 1)) + b"]")
    tracemalloc.start()
    with pytest.raises(TooLarge, match="split it over several jobs"):
        documents(order(dataset_path=str(path)), home)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 2 * path.stat().st_size


def test_numbers_that_json_cannot_carry_again_do_not_stop_the_others(home):
    raw = b'{"job_id": "a1", "experiences": [{"n": %s, "x": NaN}]}' % (b"9" * 40)
    assert identities(documents(_understood(raw), home).parts) == ["a1:0"]
