from __future__ import annotations

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Kind
from gguf.quants import quantize

from reactord.errors import BadRequest
from reactord.worker.gguf_file import GgufFile, entry, write
from reactord.worker.gguf_llama import gguf_name, hf_name, permute, refuse_unsupported, unpermute
from reactord.worker.quantise import _only_codes, quantise_matrix

VALUES = {"general.architecture": "llama", "n": 7, "x": 0.5, "yes": True, "words": ["a", "ü"], "kinds": [1, -3]}


def test_what_is_written_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {"a.weight": rng.standard_normal((5, 32)), "norm.weight": rng.standard_normal(3)}
    plan = [("a.weight", (5, 32), np.float16), ("norm.weight", (3,), np.float32)]
    path = tmp_path / "m.gguf"
    write(path, {key: entry(key, value) for key, value in VALUES.items()}, plan, tensors.__getitem__)
    file = GgufFile(path)
    assert file.values == VALUES
    assert {name: t.shape for name, t in file.tensors.items()} == {"a.weight": (5, 32), "norm.weight": (3,)}
    np.testing.assert_array_equal(file.array("a.weight"), tensors["a.weight"].astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(file.array("norm.weight"), tensors["norm.weight"].astype(np.float32))


def test_raw_entries_make_the_same_metadata_again(tmp_path):
    first, second = tmp_path / "1.gguf", tmp_path / "2.gguf"
    write(first, {key: entry(key, value) for key, value in VALUES.items()}, [], {}.__getitem__)
    write(second, GgufFile(first).entries, [], {}.__getitem__)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("data", [b"", b"GGUF", b"PK" * 20, b"GGUF" + b"\x09" + bytes(40)])
def test_what_is_no_gguf_is_refused_with_a_way_out(tmp_path, data):
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(BadRequest, match=r"name a GGUF|convert it"):
        GgufFile(tmp_path / "x.gguf")


def test_permuting_turns_halves_of_a_head_into_neighbours():
    rows = np.arange(8.0)[:, None]  # one column; 2 heads of 4 rows, halves 0 1 | 2 3
    assert permute(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_unpermuting_undoes_permuting():
    rows = np.random.default_rng(0).standard_normal((24, 5))
    np.testing.assert_array_equal(unpermute(permute(rows, 3), 3), rows)


def test_modules_are_named_as_llama_cpp_names_them():
    assert gguf_name("model.layers.12.self_attn.q_proj") == "blk.12.attn_q"
    assert gguf_name("model.embed_tokens") == "token_embd"
    assert gguf_name("lm_head") == "output"
    for name in ("model.layers.12.mlp.up_proj", "model.norm", "lm_head"):
        assert hf_name(gguf_name(name)) == name


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "gemma3"}, "architecture is 'gemma3'"),
        ({"model_type": "llama", "rope_scaling": {"rope_type": "llama3"}}, "rope is scaled"),
        ({"model_type": "llama", "attention_bias": True}, "biases"),
        ({"model_type": "llama", "head_dim": 64, "num_attention_heads": 4, "hidden_size": 128}, "head size"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused_before_training(config, said):
    with pytest.raises(BadRequest, match=said):
        refuse_unsupported(config)


def test_a_small_change_vanishes_on_a_grid_it_was_rounded_to_and_survives_on_another():
    """The erased fine-tune (ML.md 2) in one matrix: base already in Q4_0, delta far below half a step."""
    rng = np.random.default_rng(0)
    kind = Kind.Q4_0
    coded = quantise_matrix(rng.standard_normal((16, 256)).astype(np.float32), kind)
    from gguf.quants import dequantize

    base = dequantize(coded, kind)
    tuned = base + rng.standard_normal(base.shape).astype(np.float32) * 1e-3
    same_grid = _only_codes(quantise_matrix(tuned, kind), kind) != _only_codes(quantise_matrix(base, kind), kind)
    other_grid = _only_codes(quantise_matrix(tuned, Kind.Q8_0), Kind.Q8_0) != _only_codes(
        quantise_matrix(base, Kind.Q8_0), Kind.Q8_0
    )
    assert same_grid.mean() < 0.01
    assert other_grid.mean() > 0.05


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.F16])
def test_our_binding_of_the_quantiser_gives_the_reference_codes(kind):
    numbers = np.random.default_rng(1).standard_normal((8, 256)).astype(np.float32)
    np.testing.assert_array_equal(quantise_matrix(numbers, kind), quantize(numbers, kind).view(np.uint8))
