"""Is the MinHash kernel its slow reference, and does it tell copies from lookalikes?"""

from __future__ import annotations

import math
import random
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import minhash as slow

from reactord.errors import BadInput
from reactord.kernels import minhash
from reactord.kernels.minhash import Signatures, near_duplicates, signatures

WORDS = [f"word{n}" for n in range(5000)]
sparse_bytes = st.binary(max_size=40) | st.lists(st.sampled_from([b"a", b"Bc", b" ", b"\n\t", b"\xc3\xa9"])).map(
    b"".join
)


def rows(signed: Signatures) -> list[list[int]]:
    return [list(memoryview(signed.row(i)).cast("I")) for i in range(len(signed))]


def offsets_of(texts: list[bytes]) -> list[int]:
    return [sum(map(len, texts[:i])) for i in range(len(texts) + 1)]


@given(st.lists(sparse_bytes, max_size=5), st.integers(1, 8), st.sampled_from([8, 16, 40, 128]))
def test_the_kernel_equals_its_slow_reference_on_any_bytes(texts, w, k):
    got = minhash._sign(b"".join(texts), offsets_of(texts), w, k)
    multipliers, addends = minhash._coefficients(k)
    assert rows(got) == [slow.signature(text, w, multipliers, addends) for text in texts]


@pytest.mark.parametrize(
    "text",
    ["", " \n", "one", "one two", "one two three", "one two three four", "ÉTÉ à la plage 🏖", "x" * 5000 + " y" * 600],
)
def test_the_kernel_equals_its_slow_reference_at_every_size(text):
    packed = " ".join(text.casefold().split()).encode()
    assert rows(signatures([text])) == [slow.signature(packed, 3, *minhash._coefficients(128))]


@given(st.lists(st.text(max_size=30), max_size=6))
def test_a_text_has_the_same_signature_alone_and_in_a_batch(texts):
    assert rows(signatures(texts)) == [row for text in texts for row in rows(signatures([text]))]


def test_the_kernel_reads_only_between_the_offsets():
    inside = minhash._sign(b"skip me a b c d skip me too", [8, 15], 3, 128)
    assert rows(inside) == rows(signatures(["a b c d"]))


def test_the_coefficients_are_the_published_generator():
    assert list(islice(slow.split_mix_64(1234567), 2)) == [6457827717110365317, 3203168211198807973]
    draws = list(islice(slow.split_mix_64(minhash._SEED), 128))
    assert minhash._coefficients(128) == ([d % 2**32 | 1 for d in draws], [d // 2**32 for d in draws])


def test_signatures_of_this_version_never_change():
    """Stored signatures would silently mean something else: raise SIGNATURE_VERSION when this has to be edited."""
    assert minhash.SIGNATURE_VERSION == 1
    assert rows(signatures(["What is the capital of France?"], permutations=8)) == [
        [695205845, 200946153, 1819678598, 830478254, 850962052, 1385193846, 420063869, 1289214865]
    ]


@pytest.mark.parametrize("offsets", [[-1, 4], [0, 5], [3, 1, 4], [0, 2**40, 4], [2**40, 0], [-(2**63), 2**63 - 1]])
def test_offsets_outside_the_text_or_falling_are_refused(offsets):
    with pytest.raises(BadInput, match="refused"):
        minhash._sign(b"a bc", offsets, 3, 128)


@pytest.mark.parametrize(("w", "k"), [(0, 128), (9, 128), (-1, 128), (3, 0), (3, 12)])
def test_the_kernel_itself_refuses_settings_it_was_not_written_for(w, k):
    with pytest.raises(BadInput, match="refused"):
        minhash._sign(b"a bc", [0, 4], w, k)


@pytest.mark.parametrize(
    "settings", [{"shingle_words": 0}, {"shingle_words": 9}, {"permutations": 12}, {"permutations": -8}]
)
def test_settings_out_of_range_are_refused_with_the_range(settings):
    with pytest.raises(BadInput, match="1 to 8 words"):
        signatures(["a"], **settings)


def test_batches_beyond_the_bounds_are_refused(monkeypatch):
    monkeypatch.setattr(minhash, "MAX_BYTES", 3)
    with pytest.raises(BadInput, match="Split"):
        signatures(["ab", "cd"])
    monkeypatch.setattr(minhash, "MAX_SLOTS", 128)
    with pytest.raises(BadInput, match="Split"):
        signatures(["a", "b"])


def test_half_a_surrogate_pair_does_not_stop_a_batch():
    assert not signatures(["bad \ud800 pair"]).is_empty(0)


@given(st.lists(st.integers(0, 3) | st.sampled_from([2**31 - 1, 2**31, 2**32 - 1]), min_size=16, max_size=16))
def test_agreement_equals_counting_slot_by_slot(slots):
    signed = Signatures(b"".join(slot.to_bytes(4, "little") for slot in slots), permutations=8)
    expected = 0.0 if any(signed.is_empty(i) for i in (0, 1)) else slow.agreement(slots[:8], slots[8:])
    assert signed.agreement(0, 1) == expected


def test_an_index_outside_the_batch_is_an_error():
    with pytest.raises(IndexError):
        signatures(["a"]).agreement(0, 1)


@given(st.lists(st.sampled_from(WORDS), max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_shingles_does_not_matter(words, rng):
    one, other = rows(signatures([" ".join(words), " ".join(rng.sample(words, len(words)))], shingle_words=1))
    assert one == other


def test_the_estimate_is_unbiased_and_as_exact_as_theory_says():
    rng = random.Random(7)
    texts, truth = [], []
    for _ in range(600):
        common, own = rng.randint(1, 60), rng.randint(0, 30)
        picked = rng.sample(WORDS, common + 2 * own)
        texts += [" ".join(picked[: common + own]), " ".join(picked[:common] + picked[common + own :])]
        truth.append(common / (common + 2 * own))  # single-word shingles, all different
    signed = signatures(texts, shingle_words=1)
    errors = [signed.agreement(2 * i, 2 * i + 1) - j for i, j in enumerate(truth)]
    theory = math.sqrt(sum(j * (1 - j) / 128 for j in truth) / len(truth))
    rmse = math.sqrt(sum(e * e for e in errors) / len(errors))
    assert 0.85 * theory < rmse < 1.15 * theory
    assert abs(sum(errors) / len(errors)) < 4 * theory / math.sqrt(len(errors))


def test_a_respaced_or_recased_copy_is_a_twin():
    copies = [
        "What is the CAPITAL of France?",
        "what  is\tthe capital\nof france?",
        "\u00a0What is\u2003the capital of France? ",
    ]
    assert near_duplicates(copies) == [0, 0, 0]
    assert near_duplicates(["École d'été à Nice", "E\u0301COLE  D'E\u0301TE\u0301 A\u0300 NICE"]) == [0, 0]


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=7, unique=True), st.data())
def test_short_questions_that_differ_in_one_word_are_never_twins(words, data):
    at = data.draw(st.integers(0, len(words) - 1))
    assert near_duplicates([" ".join(words), " ".join([*words[:at], "Other", *words[at + 1 :]])]) == [0, 1]


def test_a_family_of_questions_about_different_things_does_not_collapse():
    rng = random.Random(3)
    family = [f"What is the capital of {word}?" for word in rng.sample(WORDS, 200)]
    assert near_duplicates(family) == list(range(200))


def test_empty_texts_cluster_with_nothing():
    assert near_duplicates(["", "a b c", " \n", "a b c", ""]) == [0, 1, 2, 1, 4]
    assert signatures(["", ""]).agreement(0, 1) == 0.0
    assert near_duplicates([]) == []


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, math.nan])
def test_a_threshold_that_means_nothing_is_refused(threshold):
    with pytest.raises(BadInput, match=r"0\.7"):
        near_duplicates(["a"], threshold=threshold)


def edited(words: list[str], rng: random.Random) -> list[str]:
    """One word of a long text replaced: Jaccard 0.88 or more for 50 words."""
    at = rng.randrange(len(words))
    return [*words[:at], rng.choice(WORDS), *words[at + 1 :]]


def test_planted_near_copies_are_found_and_nothing_else_is_joined():
    rng = random.Random(11)
    originals = [rng.sample(WORDS, 50) for _ in range(400)]
    texts = [" ".join(words) for words in originals] + [" ".join(edited(words, rng)) for words in originals]
    labels = near_duplicates(texts)
    assert labels[:400] == list(range(400))
    assert sum(labels[400 + i] == i for i in range(400)) >= 396
    assert all(label in (i, i - 400) for i, label in enumerate(labels))


def test_a_chain_of_near_copies_is_one_cluster_labelled_by_its_first():
    rng = random.Random(5)
    chain = [rng.sample(WORDS, 60)]
    for _ in range(12):
        chain.append(edited(chain[-1], rng))
    texts = ["something else entirely, said once", *(" ".join(words) for words in chain)]
    assert near_duplicates(texts) == [0] + [1] * 13
    assert all(minhash._jaccard(a, b, 3) >= 0.7 for a, b in pairwise(texts[1:]))


def test_at_the_threshold_a_band_is_shared_with_98_percent():
    for threshold in (0.3, 0.5, 0.7, 0.9, 1.0):
        rows = minhash._band_rows(threshold, 128)
        assert 1 - (1 - threshold**rows) ** (128 // rows) >= 0.98
