import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.span_corruption import (
    EOS,
    Params,
    corrupt,
    formula_lengths,
    is_sentinel,
    noise_and_spans,
    random_lengths,
    restore,
    run,
)


@pytest.mark.parametrize(
    ("seq_len", "density", "span", "lengths"),
    [(568, 0.15, 3, (512, 114)), (1137, 0.15, 3, (1024, 229)), (100, 0.5, 5, (61, 61))],
    ids=str,
)
def test_lengths_as_t5_computes_them(seq_len, density, span, lengths):
    """google-research/text-to-text-transfer-transformer, random_spans_helper: 568 → 512 and 114."""
    assert formula_lengths(seq_len, density, span) == lengths


@settings(max_examples=100, deadline=None)
@given(T=st.integers(2, 80), density=st.floats(0.01, 0.99), span=st.floats(1, 10), seed=st.integers(0, 999))
def test_nothing_is_lost(T, density, span, seed):  # noqa: N803
    text = [f"w{i}" for i in range(T)]
    inputs, target = corrupt(random.Random(seed), text, density, span)
    assert restore(inputs, target) == text
    assert (len(inputs), len(target)) == formula_lengths(T, density, span)
    assert inputs[-1] == target[-1] == EOS
    hidden = [t for t in target[:-1] if not is_sentinel(t)]
    assert not set(hidden) & set(inputs)
    assert list(filter(is_sentinel, inputs)) == list(filter(is_sentinel, target))
    assert not any(is_sentinel(a) and is_sentinel(b) for a, b in pairwise(inputs))


def test_example_of_the_paper():
    """Figure 2 of arXiv 1910.10683: "for inviting" and "last" are hidden."""
    inputs = ["Thank", "you", "<extra_id_0>", "me", "to", "your", "party", "<extra_id_1>", "week", "."]
    target = ["<extra_id_0>", "for", "inviting", "<extra_id_1>", "last"]
    assert " ".join(restore([*inputs, EOS], [*target, EOS])) == "Thank you for inviting me to your party last week ."


def test_pieces_are_drawn_from_all_ways_to_cut():
    rng = random.Random(0)
    seen = {tuple(random_lengths(rng, 5, 3)) for _ in range(300)}
    assert seen == {(a, b, 5 - a - b) for a in (1, 2, 3) for b in (1, 2, 3) if a + b < 5}


def test_at_least_one_token_is_hidden_and_one_kept():
    assert noise_and_spans(2, 0.01, 3) == (1, 1)
    assert noise_and_spans(2, 0.99, 3) == (1, 1)


def test_a_target_without_sentinels_cannot_be_read():
    assert run(Params(target="without")).fact("restored").measured == 0
    assert run(Params(target="without", mean_span=1, seq_len=100)).fact("restored").measured == 100  # all spans are 1


@pytest.mark.parametrize("p", [Params(seq_len=2, mean_span=1), Params(seq_len=4096, n_texts=1, noise_density=0.9)])
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"seq_len": 1}, {"noise_density": 1.0}, {"mean_span": 0.5}, {"n_texts": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
