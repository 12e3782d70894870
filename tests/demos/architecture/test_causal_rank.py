# ruff: noqa: E402
from fractions import Fraction

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.causal_rank import (
    PRIME,
    Params,
    attention_matrix,
    effective_rank,
    exact_rank,
    log_determinant,
    log_determinant_by_lu,
    residues,
    run,
)


def rank_by_fractions(a: torch.Tensor) -> int:
    """The slow and obvious way: elimination in rational numbers, as exact as school."""
    rows, rank = [[Fraction(x) for x in row] for row in a.tolist()], 0
    for column in range(a.shape[1]):
        pivot = next((i for i in range(rank, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        for i in range(rank + 1, len(rows)):
            factor = rows[i][column] / rows[rank][column]
            rows[i] = [x - factor * y for x, y in zip(rows[i], rows[rank], strict=True)]
        rank += 1
    return rank


def random_matrix(n: int, scores: str, *, causal: bool, seed: int = 0) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return attention_matrix(n, 4, scores, causal=causal)


def test_a_float_is_a_whole_number_times_a_power_of_two():
    for x in (0.0, 1.0, 0.1, -2.5, 1e-30, 3e5):
        exact = Fraction(x)
        expected = exact.numerator * pow(exact.denominator, -1, PRIME) % PRIME
        assert int(residues(torch.tensor([[x]], dtype=torch.float64))) == expected


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(2, 9), scores=st.sampled_from(["random", "uniform"]), causal=st.booleans(), seed=st.integers(0, 99)
)
def test_rank_modulo_a_prime_is_the_rank_in_fractions(n, scores, causal, seed):
    a = random_matrix(n, scores, causal=causal, seed=seed)
    assert exact_rank(a) == rank_by_fractions(a) == (1 if scores == "uniform" and not causal else n)


def test_deficient_ranks_are_found():
    a = torch.tensor([[1.0, 2, 3], [2, 4, 6], [0, 0, 0.1]], dtype=torch.float64)
    assert exact_rank(a) == 2
    assert exact_rank(torch.zeros(3, 3, dtype=torch.float64)) == 0
    strictly_lower = torch.ones(4, 4, dtype=torch.float64).tril(-1)
    assert exact_rank(strictly_lower) == 3  # "strictly" lower triangular would be singular


def test_diagonal_gives_the_determinant_while_lu_still_can():
    a = random_matrix(12, "random", causal=True)
    assert log_determinant(a) == pytest.approx(log_determinant_by_lu(a))
    assert torch.linalg.det(a).log().item() == pytest.approx(log_determinant(a))
    torch.testing.assert_close(a.sum(dim=1), torch.ones(12, dtype=torch.float64))
    assert (a.diagonal() == 1).sum() == 1


def test_effective_rank_counts_equal_values():
    assert effective_rank(torch.tensor([2.0, 2, 2, 2])) == pytest.approx(4)
    assert effective_rank(torch.tensor([1.0, 0, 0])) == pytest.approx(1)


def test_float64_denies_the_rank_of_a_long_causal_matrix_only():
    causal, none = (run(Params(n_tokens=128, n_seeds=3, mask=mask)) for mask in ("causal", "none"))
    assert causal.fact("exact_rank").measured == none.fact("exact_rank").measured == 128
    assert (causal.fact("judged_full").measured, none.fact("judged_full").measured) == (0, 3)
    assert causal.fact("log10_condition").measured > 15 > none.fact("log10_condition").measured


@pytest.mark.parametrize("mask", ["causal", "none"])
@pytest.mark.parametrize("odd", [{"n_tokens": 2, "head_dim": 1}, {"scores": "uniform"}, {"head_dim": 128}], ids=str)
def test_run_agrees_for_odd_settings(mask, odd):
    assert [f for f in run(Params(mask=mask, n_seeds=2, **odd)).facts if not f.agrees] == []


@pytest.mark.parametrize("wrong", [{"n_tokens": 1}, {"n_tokens": 1000}, {"n_seeds": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
