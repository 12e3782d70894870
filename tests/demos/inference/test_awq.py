# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.awq import ALPHAS, Params, keep_in_float, layer, measure, run, scaled_rtn, search_alpha
from llmprep.demos.inference.gptq import output_error, rtn


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


SMALL = {"d_in": 128, "group_size": 64, "d_out": 32, "n_salient": 1}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.25, 2.0, 16.0]))
def test_one_scale_for_all_channels_changes_nothing(seed, scale):
    w = torch.randn(4, 64, generator=rng(seed))
    torch.testing.assert_close(scaled_rtn(w, torch.full((64,), scale), 4, 32), rtn(w, 4, 32))


@pytest.mark.parametrize("s", [1.5, 2.0])
def test_the_error_of_a_scaled_channel_shrinks_by_s_while_the_step_stays(s):
    """Paper, section 3.2: the error of a salient weight becomes Δ'/Δ · 1/s of what it was."""
    w = torch.rand(4096, 64, generator=rng()) * 2 - 1
    w[:, 0] *= 0.5  # scaled up to at most 1, so that another weight still sets the step
    w[:, 1] = 1.0
    scales = torch.ones(64)
    scales[0] = s
    before, after = (w - rtn(w, 4, 64))[:, 0], (w - scaled_rtn(w, scales, 4, 64))[:, 0]
    assert (after.norm() / before.norm()).item() == pytest.approx(1 / s, rel=0.05)
    assert torch.equal((w - scaled_rtn(w, scales, 4, 64))[:, 1:], (w - rtn(w, 4, 64))[:, 1:])


def test_too_large_a_scale_spoils_the_other_channels():
    w, scales = torch.randn(64, 64, generator=rng()), torch.ones(64)
    scales[0] = 30.0
    others = slice(1, None)
    assert (w - scaled_rtn(w, scales, 4, 64))[:, others].norm() > 3 * (w - rtn(w, 4, 64))[:, others].norm()


def test_search_starts_at_round_to_nearest_and_never_does_worse():
    w, calib, _ = layer(Params(**SMALL), 0.0, 30.0)
    alpha, errors = search_alpha(w, calib, calib.abs().mean(dim=0), 4, 64)
    assert errors[0] == pytest.approx(output_error(w, rtn(w, 4, 64), calib), rel=1e-5)
    assert errors[ALPHAS.index(alpha)] == min(errors)
    assert errors[-1] > min(errors)


def test_channels_kept_in_float_are_the_largest():
    w, size = torch.randn(8, 64, generator=rng()), torch.arange(64.0)
    w_hat = keep_in_float(w, size, 2, 4, 32)
    exact = (w_hat == w).all(dim=0)
    assert exact.nonzero().flatten().tolist() == [62, 63]


def test_salient_channels_are_found_by_activations_only():
    by_activations, _ = measure(Params(**SMALL), 0.0, 30.0)
    by_weights, _ = measure(Params(**SMALL, scale_by="weights"), 0.0, 30.0)
    assert by_activations["awq"] < 0.65 * by_activations["rtn"]
    assert by_weights["awq"] > 0.9 * by_weights["rtn"]
    assert by_activations["mixed"] < 0.6 * by_activations["rtn"] < 0.6 * 1.1 * by_weights["mixed"]


def test_gptq_and_awq_live_on_different_structure():
    table = run(Params(**SMALL)).table
    plain, correlated, salient, both = (
        {n: row[i + 2] for i, n in enumerate(["rtn", "awq", "gptq", "both"])} for row in table.rows
    )
    assert plain["awq"] > 0.9 * plain["rtn"]
    assert plain["gptq"] > 0.9 * plain["rtn"]
    assert correlated["gptq"] < 0.6 * correlated["rtn"] < 0.7 * correlated["awq"]
    assert salient["awq"] < 0.7 * salient["rtn"] < 0.8 * salient["gptq"]
    assert both["both"] < 0.7 * min(both["awq"], both["gptq"])


def test_facts_agree():
    assert all(f.agrees for f in run(Params(**SMALL)).facts)


@pytest.mark.parametrize(
    "wrong",
    [{"salient_gain": 0.5}, {"correlation": 1.0}, {"bits": 2}, {"n_salient": 0}, {"group_size": 100}, {"d_in": 16}],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
