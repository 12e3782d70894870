# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.residual_variance import Params, formula_scale, fresh_block, run, stream_variance


@pytest.mark.parametrize(("n_layers", "std"), [(12, 0.02 / math.sqrt(24)), (48, 0.02 / math.sqrt(96))])
def test_gpt2_and_gpt2_xl(n_layers, std):
    assert 0.02 * formula_scale(n_layers) == pytest.approx(std)


def test_only_the_matrices_that_write_to_the_stream_are_scaled():
    torch.manual_seed(0)
    block = fresh_block(128, 4, 0.08, 0.1)
    stds = {name: w.std().item() for name, w in block.named_parameters() if w.dim() == 2}
    assert len(stds) == 6
    for name, std in stds.items():
        expected = 0.008 if name in ("attention.wo.weight", "down.weight") else 0.08
        assert std == pytest.approx(expected, rel=0.05), name


def test_silent_branches_leave_the_stream_as_it_is():
    torch.manual_seed(0)
    variances = stream_variance(torch.randn(2, 16, 128), 3, 4, 0.08, 0.0)
    assert variances == [variances[0]] * 4


def test_variances_of_independent_branches_add_up():
    """Twice the layers add twice the variance, in a stack of another size than in the claims."""
    torch.manual_seed(1)
    with torch.no_grad():
        v = stream_variance(torch.randn(8, 32, 192), 16, 6, 0.07, 1.0)
    assert (v[16] - v[0]) / (v[8] - v[0]) == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("scaled", [True, False])
def test_other_depths_agree(scaled):
    assert all(f.agrees for f in run(Params(scaled=scaled, n_layers=16, seed=5)).facts)


@pytest.mark.parametrize("wrong", [{"n_layers": 6}, {"d_model": 100}, {"weight_std": 1.0}, {"tokens": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
