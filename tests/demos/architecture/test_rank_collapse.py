# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.rank_collapse import (
    FLOOR,
    Params,
    depth_profile,
    distance_to_rank_one,
    layers_until,
    run,
)


def test_distance():
    same = torch.ones(5, 3, dtype=torch.float64)
    assert distance_to_rank_one(same) == pytest.approx(0, abs=1e-12)
    assert distance_to_rank_one(torch.tensor([[1.0], [-1.0]])) == pytest.approx(1)
    assert distance_to_rank_one(torch.tensor([[3.0], [1.0]])) == pytest.approx((2 / 10) ** 0.5)


def test_layers_until():
    assert layers_until([1, 0.5, 0.001], 0.01) == 2
    assert layers_until([1, 0.5, 0.4], 0.01) == 3  # never: one more than the two layers


@pytest.mark.parametrize("seed", range(4))
def test_without_residual_tokens_collapse_with_it_they_do_not(seed):
    final = {}
    for causal in (False, True):
        for skip in (False, True):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                final[causal, skip] = depth_profile(48, 32, 12, causal=causal, skip=skip)[-1]
    assert final[False, False] == FLOOR
    assert FLOOR < final[True, False] < 0.1  # slower under the mask, but it collapses
    assert min(final[False, True], final[True, True]) > 0.25


@pytest.mark.parametrize(
    "p", [Params(n_tokens=2, d_model=8, n_seeds=2), Params(n_layers=1, n_seeds=1), Params(residual=True, mask="causal")]
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"n_tokens": 1}, {"d_model": 4}, {"n_layers": 0}, {"n_seeds": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
