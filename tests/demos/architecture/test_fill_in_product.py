# ruff: noqa: E402
import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.fill_in_product import (
    Params,
    fill_in,
    left_to_right,
    perplexity,
    products,
    run,
    sticky_joint,
)


def by_hand(text, vocab, stay):
    p = 1 / vocab
    for a, b in itertools.pairwise(text):
        p *= stay if a == b else (1 - stay) / (vocab - 1)
    return p


def test_joint_is_the_chain_multiplied_out():
    joint = sticky_joint(3, 4, 0.7)
    for text in itertools.product(range(3), repeat=4):
        assert joint[text].item() == pytest.approx(by_hand(text, 3, 0.7))
    assert joint.sum().item() == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(vocab=st.integers(2, 4), seq_len=st.integers(2, 5), seed=st.integers(0, 99))
def test_chain_rule_gives_back_any_joint(vocab, seq_len, seed):
    """Not only a Markov one: the left-to-right factors of a random joint multiply to it."""
    raw = torch.rand((vocab,) * seq_len, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    joint = raw / raw.sum()
    torch.testing.assert_close(products(joint, "left to right"), joint)


def test_fill_in_is_bayes_rule_on_both_neighbours():
    """In a chain a token in the middle depends on its two neighbours: p(b | a, c) ∝ p(b | a)·p(c | b)."""
    vocab, stay = 3, 0.8
    joint = sticky_joint(vocab, 4, stay)
    a, c, d = 0, 1, 2

    def step(x, y):
        return stay if x == y else (1 - stay) / (vocab - 1)

    weights = [step(a, b) * step(b, c) for b in range(vocab)]
    for b in range(vocab):
        assert fill_in(joint, 1)[a, b, c, d].item() == pytest.approx(weights[b] / sum(weights))
        assert left_to_right(joint, 1)[a, b, c, d].item() == pytest.approx(step(a, b))


def test_two_tokens_by_hand():
    """p(x1|x2)·p(x2|x1): stay² twice and ((1−stay)/(V−1))² for the rest, V = 2: 2·(s² + (1−s)²)."""
    assert products(sticky_joint(2, 2, 0.9), "fill in").sum().item() == pytest.approx(2 * (0.81 + 0.01))


def test_no_memory_no_double_counting():
    joint = sticky_joint(4, 3, 0.25)
    assert products(joint, "fill in").sum().item() == pytest.approx(1)
    assert perplexity(joint, joint) == pytest.approx(4)


@pytest.mark.parametrize("stay", [0.5, 0.8, 0.95])
def test_pseudo_perplexity_is_too_low(stay):
    result = run(Params(stay=stay))
    assert result.fact("perplexity").measured < result.fact("true_perplexity").measured
    entropy = math.log(3) + 3 * -(stay * math.log(stay) + (1 - stay) * math.log((1 - stay) / 2))
    assert result.fact("true_perplexity").measured == pytest.approx(math.exp(entropy / 4))


@pytest.mark.parametrize("factors", ["fill in", "left to right"])
@pytest.mark.parametrize("odd", [{"stay": 1.0}, {"vocab": 2, "seq_len": 2, "stay": 0.5}, {"seq_len": 8}], ids=str)
def test_run_agrees_for_odd_settings(factors, odd):
    assert all(f.agrees for f in run(Params(factors=factors, **odd)).facts)


@pytest.mark.parametrize("wrong", [{"vocab": 1}, {"seq_len": 1}, {"seq_len": 20}, {"stay": 0.0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
