# ruff: noqa: E402, N803, N806 (the letters of the papers)
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.special import ssm_convolution
from llmprep.demos.special.selective_scan import (
    Params,
    chunks_without_carry,
    discretise,
    gated_average,
    parallel_selective_scan,
    run,
    selective_scan,
)

F64 = torch.float64


@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 4), st.sampled_from(["euler", "zoh"]), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_parallel_equals_sequential(T, D, N, rule, seed):
    g = torch.Generator().manual_seed(seed)
    x, delta = torch.randn(T, D, dtype=F64, generator=g), torch.rand(T, D, dtype=F64, generator=g)
    B, C = torch.randn(2, T, N, dtype=F64, generator=g)
    decay, added = discretise(delta, -torch.rand(D, N, dtype=F64, generator=g) - 0.1, B, x, rule)
    torch.testing.assert_close(parallel_selective_scan(decay, added, C)[0], selective_scan(decay, added, C))


def test_with_constant_parameters_it_is_the_time_invariant_model():
    torch.manual_seed(0)
    T, N = 30, 4
    A, B, C = -torch.rand(1, N, dtype=F64) - 0.5, torch.randn(1, N, dtype=F64), torch.randn(1, N, dtype=F64)
    x, delta = torch.randn(T, 1, dtype=F64), torch.full((T, 1), 0.3, dtype=F64)
    ours = selective_scan(*discretise(delta, A, B.expand(T, -1), x, "zoh"), C.expand(T, -1))[:, 0]
    A_bar, B_bar = ssm_convolution.discretise(delta[:1], A, B)
    theirs = ssm_convolution.causal_convolution(ssm_convolution.kernel(A_bar[0], B_bar[0], C[0], T), x[:, 0])
    torch.testing.assert_close(ours, theirs)


def test_delta_is_a_gate():
    """Large: the state is replaced. Zero: the token is skipped, under both rules."""
    A, B, x = -torch.ones(1, 3, dtype=F64), torch.ones(2, 3, dtype=F64), torch.ones(2, 1, dtype=F64)
    for rule in ("euler", "zoh"):
        decay, added = discretise(torch.tensor([[40.0], [0.0]], dtype=F64), A, B, x, rule)
        assert decay[0].max() < 1e-15
        assert (decay[1] == 1).all()
        assert not added[1].any()


def test_euler_is_the_first_order_of_zero_order_hold():
    A, B, x = -torch.ones(1, 1, dtype=F64), torch.ones(1, 1, dtype=F64), torch.ones(1, 1, dtype=F64)
    for delta, tolerance in ((0.001, 0.001), (0.1, 0.06)):
        euler, zoh = (discretise(torch.tensor([[delta]], dtype=F64), A, B, x, rule)[1] for rule in ("euler", "zoh"))
        assert euler.item() == pytest.approx(zoh.item(), rel=tolerance)


def test_gate_of_theorem_1_is_a_moving_average():
    x = torch.ones(5, 2, dtype=F64)
    assert gated_average(x, torch.zeros(5, 2, dtype=F64))[:, 0].tolist() == [0.5, 0.75, 0.875, 0.9375, 0.96875]


def test_forgetting_the_carry_changes_only_the_second_chunk():
    torch.manual_seed(0)
    decay, added, C = torch.rand(10, 2, 3, dtype=F64), torch.randn(10, 2, 3, dtype=F64), torch.randn(10, 3, dtype=F64)
    same = torch.isclose(chunks_without_carry(decay, added, C)[0], selective_scan(decay, added, C)).all(dim=1)
    assert same.tolist() == [True] * 5 + [False] * 5


@pytest.mark.parametrize("wrong", [{"seq_len": 1}, {"channels": 0}, {"state_size": 99}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)


def test_other_settings_agree():
    for settings_ in ({"rule": "zoh", "seq_len": 33}, {"seq_len": 2, "channels": 1, "state_size": 1}):
        assert all(f.agrees for f in run(Params(**settings_)).facts)
