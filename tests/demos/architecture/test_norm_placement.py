# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.norm_placement import Params, average, measure, run, xavier_stack


def test_last_gradient_of_pre_norm_falls_like_the_root_of_the_depth():
    with torch.random.fork_rng(devices=[]):
        pre, post = ([average(n, 4, norm_first=f)[0][-1].item() for n in (4, 16, 64)] for f in (True, False))
    slope = math.log(pre[2] / pre[0]) / math.log(16)
    assert slope == pytest.approx(-0.5, abs=0.15)
    assert abs(math.log(post[2] / post[0]) / math.log(16)) < 0.15


def test_stream_of_pre_norm_grows_and_that_of_post_norm_stays():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert measure(16, norm_first=False)[1] == pytest.approx(1, rel=1e-3)
        small, large = (measure(n, norm_first=True)[1] for n in (8, 32))
    assert large / small == pytest.approx(2, rel=0.25)


def test_gradient_is_that_of_torchs_own_layers():
    """The same weights in torch.nn.TransformerEncoderLayer, the same loss: the same gradient of the last matrix."""
    from llmprep.demos.architecture.transformer_layer import copy_weights

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        ours = xavier_stack(3, 16, norm_first=True)
        theirs = [torch.nn.TransformerEncoderLayer(16, 4, 64, 0.0, batch_first=True, norm_first=True) for _ in ours]
        for a, b in zip(ours, theirs, strict=True):
            copy_weights(a, b)
        x = y = torch.randn(2, 5, 16)
    for a, b in zip(ours, theirs, strict=True):
        x, y = a(x), b(y)
    x.pow(3).sum().backward()
    y.pow(3).sum().backward()
    torch.testing.assert_close(ours[0].ffn.down.weight.grad, theirs[0].linear2.weight.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("p", [Params("pre", n_layers=12, n_seeds=2), Params("post", n_layers=12, n_seeds=2)], ids=str)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"n_layers": 6}, {"n_layers": 500}, {"n_seeds": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
