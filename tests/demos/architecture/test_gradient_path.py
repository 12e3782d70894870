# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.attention import attention
from llmprep.demos.architecture.gradient_path import Params, attention_layer, fresh_weights, rnn, routes, run

F64 = torch.float64


def test_attention_layer_is_the_scratch_attention():
    torch.manual_seed(0)
    w, x = fresh_weights(8, 0.9), torch.randn(6, 8, dtype=F64)
    q, k, v = ((x @ w[name].T)[None, None] for name in "qkv")
    torch.testing.assert_close(attention_layer(list(x), w), (attention(q, k, v)[0, 0] @ w["o"].T)[-1])


def test_rnn_is_torchs():
    torch.manual_seed(0)
    w, x = fresh_weights(8, 0.9), torch.randn(6, 8, dtype=F64)
    theirs = torch.nn.RNN(8, 8, bias=False, dtype=F64)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(w["x"])
        theirs.weight_hh_l0.copy_(w["h"])
        torch.testing.assert_close(rnn(list(x), w), theirs(x)[0][-1])


def test_routes_through_a_known_graph():
    """Two roads from x: a chain of three products, and a shortcut past them."""
    w = torch.eye(3, dtype=F64)
    x = torch.ones(3, dtype=F64, requires_grad=True)
    chain = w @ (w @ (w @ x))
    assert routes(chain * 1, x) == (3, 3)
    assert routes(chain + x, x) == (3, 0)
    assert routes(chain + w @ x, x) == (3, 1)


@pytest.mark.parametrize("seq_len", [2, 17, 64])
def test_counts(seq_len):
    for layer, expected in (("rnn", (seq_len, seq_len)), ("attention", (4, 3))):
        result = run(Params(layer=layer, seq_len=seq_len, D=8))
        assert (result.fact("sequential_products").measured, result.fact("path_products").measured) == expected


def test_gradient_dies_with_distance_in_the_rnn_only():
    rnn_gradient, attention_gradient = (
        run(Params(layer=layer, seq_len=100, seed=4)).fact("gradient_first").measured for layer in ("rnn", "attention")
    )
    assert rnn_gradient < 1e-4 < 1e-3 < attention_gradient


@pytest.mark.parametrize("wrong", [{"seq_len": 1}, {"D": 1}, {"radius": 2}, {"input_std": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
