# ruff: noqa: E402, N806
import math
from fractions import Fraction

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.softmax_jacobian import (
    Params,
    bytes_kept,
    formula_jacobian,
    formula_vjp,
    naive_softmax,
    overflow_score,
    run,
    safe_softmax,
)

SCORES = st.lists(st.floats(-20, 20), min_size=1, max_size=8).map(lambda z: torch.tensor(z, dtype=torch.float64))


@settings(deadline=None)
@given(SCORES, st.floats(-1e3, 1e3))
def test_softmax_is_torchs_and_shift_invariant(z, shift):
    p = safe_softmax(z)
    torch.testing.assert_close(p, z.softmax(dim=-1))
    torch.testing.assert_close(safe_softmax(z + shift), p, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(naive_softmax(z), p)
    assert p.sum().item() == pytest.approx(1)


@settings(deadline=None)
@given(SCORES, st.integers(0, 100))
def test_jacobian_and_vjp_are_autograds(z, seed):
    u = torch.randn(len(z), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    p = z.softmax(dim=-1)
    jacobian = torch.func.jacrev(lambda x: x.softmax(dim=-1))(z)
    torch.testing.assert_close(formula_jacobian(p), jacobian)
    torch.testing.assert_close(formula_vjp(p, u), u @ jacobian)


def test_jacobian_by_central_differences():
    z, h = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64), 1e-6
    steps = h * torch.eye(3, dtype=torch.float64)
    numeric = torch.stack([(safe_softmax(z + s) - safe_softmax(z - s)) / (2 * h) for s in steps], dim=1)
    torch.testing.assert_close(formula_jacobian(safe_softmax(z)), numeric, rtol=1e-7, atol=1e-9)


def exact_rank(matrix: list[list[Fraction]]) -> int:
    rank = 0
    for column in range(len(matrix[0])):
        pivot = next((r for r in range(rank, len(matrix)) if matrix[r][column]), None)
        if pivot is None:
            continue
        matrix[rank], matrix[pivot] = matrix[pivot], matrix[rank]
        for r in range(rank + 1, len(matrix)):
            factor = matrix[r][column] / matrix[rank][column]
            matrix[r] = [a - factor * b for a, b in zip(matrix[r], matrix[rank], strict=True)]
        rank += 1
    return rank


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=7))
def test_rank_is_n_minus_1_without_any_rounding(counts):
    """Weights as fractions of integers: Gaussian elimination has no tolerance."""
    p = [Fraction(c, sum(counts)) for c in counts]
    J = [[(a if i == j else 0) - a * b for j, b in enumerate(p)] for i, a in enumerate(p)]
    assert exact_rank(J) == len(p) - 1


@pytest.mark.parametrize(
    ("dtype", "score"),
    [(torch.float16, 11.09), (torch.bfloat16, 88.5), (torch.float32, 88.72), (torch.float64, 709.78)],
    ids=str,
)
def test_exp_overflows_where_the_logarithm_of_the_largest_number_is(dtype, score):
    found = overflow_score(dtype)
    assert found == pytest.approx(score, abs=0.01)
    assert math.isclose(found, math.log(torch.finfo(dtype).max), rel_tol=torch.finfo(dtype).eps * 2)
    too_large = torch.tensor([found * (1 + 2 * torch.finfo(dtype).eps), 0.0], dtype=dtype)
    assert naive_softmax(too_large).isnan().any()
    assert safe_softmax(too_large).isfinite().all()


def test_autograd_keeps_the_weights_and_nothing_else():
    assert bytes_kept(lambda z: z.softmax(dim=-1), torch.zeros(1000)) == 4000


@pytest.mark.parametrize("p", [Params(activation="sigmoid"), Params(n_keys=2, dtype="float16"), Params(top_score=1000)])
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


def test_run_shows_the_overflow():
    assert run(Params(subtract_max=False, top_score=88)).fact("broken_weights").measured == 0
    assert run(Params(subtract_max=False, top_score=89)).fact("broken_weights").measured > 0


@pytest.mark.parametrize("wrong", [{"n_keys": 1}, {"n_keys": 4096}, {"top_score": 0.0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
