# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.attention_dilution import (
    Params,
    find_gap_for_half,
    formula_gap_for_half,
    formula_weight,
    haystack,
    run,
    weight_of_first,
)


@given(st.integers(2, 3000), st.floats(0, 15))
@settings(max_examples=30, deadline=None)
def test_formula_is_softmax_of_one_lifted_score(n, gap):
    scores = torch.zeros(n, dtype=torch.float64)
    scores[0] = gap
    assert formula_weight(n, gap) == pytest.approx(scores.softmax(0)[0].item(), rel=1e-9)


@pytest.mark.parametrize(("n", "weight"), [(1024, 0.745), (8192, 0.267), (131072, 0.022)])
def test_known_values_for_a_gap_of_eight(n, weight):
    assert formula_weight(n, 8) == pytest.approx(weight, abs=0.001)


@given(st.integers(2, 100_000), st.floats(0, 1))
def test_at_the_gap_for_half_the_weight_is_half(n, sigma):
    assert formula_weight(n, formula_gap_for_half(n, sigma), sigma) == pytest.approx(0.5)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0])
def test_attention_over_real_vectors_gives_the_softmax_of_their_scores(sigma):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        q, keys = haystack(2000, sigma, 16)
    scores = keys @ q / math.sqrt(16)
    assert scores[1:].std().item() == pytest.approx(sigma, rel=0.1, abs=1e-12)
    scores[0] = 5.0
    assert weight_of_first(q, keys, 5.0) == pytest.approx(scores.softmax(0)[0].item(), rel=1e-9)


def test_scatter_of_the_others_costs_and_is_found_by_the_search():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        still, noisy = (find_gap_for_half(*haystack(20_000, sigma, 16)) for sigma in (0.0, 1.0))
    assert still == pytest.approx(math.log(19_999), abs=1e-6)
    assert noisy - still == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    "params",
    [Params(n_tokens=4096), Params(n_tokens=1025), Params(n_tokens=9000, noise=1, seed=3), Params(scale="log-n")],
    ids=str,
)
def test_facts_agree(params):
    assert all(f.agrees for f in run(params).facts)


def test_scaling_with_the_logarithm_keeps_the_weight_nearly_constant():
    short, long = (run(Params(n_tokens=n, scale="log-n")).fact("needle_weight").measured for n in (8192, 131_072))
    assert short / long < 1.3
    fixed = run(Params(n_tokens=131_072)).fact("needle_weight").measured
    assert short / fixed > 10


@pytest.mark.parametrize("wrong", [{"n_tokens": 2}, {"gap": -1}, {"noise": 3}, {"scale": "log-n", "noise": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
