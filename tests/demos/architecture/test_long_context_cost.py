# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.long_context_cost import (
    Layer,
    Params,
    allocate,
    count_decode_flops,
    formula_bytes,
    formula_decode_flops,
    formula_pairs,
    run,
    stack,
)
from llmprep.demos.architecture.sliding_window import sliding_mask
from llmprep.demos.inference.quantization import quantize_absmax

layers = st.builds(
    lambda g, s, d, window, bits: Layer(g * s, g, 8 * d, window, bits),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 8),
    st.integers(0, 40),
    st.sampled_from([16, 8, 4]),
)


@given(layers, st.integers(1, 80))
@settings(max_examples=15, deadline=None)
def test_formulas_agree_with_what_is_allocated_and_counted(layer, T):  # noqa: N803
    assert sum(t.nbytes for t in allocate(layer, T)) == formula_bytes(layer, T)
    assert count_decode_flops(layer, T) == formula_decode_flops(layer, T)


@pytest.mark.parametrize(
    ("layer", "n_layers", "elements"),
    [
        (Layer(16, 16, 128), 27, 110_592),
        (Layer(16, 1, 128, latent=512, rotated=64), 27, 15_552),
        (Layer(128, 1, 128, latent=512, rotated=64), 60, 34_560),
    ],
    ids=["small MHA", "small MLA", "large MLA"],
)
def test_elements_per_token_of_deepseek_v2(layer, n_layers, elements):
    """arXiv 2405.04434, table 9, in BF16 here."""
    assert n_layers * sum(t.nbytes for t in allocate(layer, 1)) == 2 * elements


def test_mla_is_as_large_as_gqa_with_two_and_a_quarter_groups():
    """The same paper, below table 1."""
    assert formula_bytes(Layer(128, 1, 128, latent=512, rotated=64), 1) == 2 * 2 * 2.25 * 128


def test_scoring_in_the_latent_space_gives_the_same_scores():
    """Why MLA may keep the latent: q·(W_UK·c) = (W_UKᵀ·q)·c, so that W_UK moves over to the query."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        q, w_uk, latent = (torch.randn(*s, dtype=torch.float64) for s in ((6, 16), (6, 16, 32), (50, 32)))
    decompressed = torch.einsum("hd,hdc,tc->ht", q, w_uk, latent)
    absorbed = torch.einsum("hd,hdc->hc", q, w_uk) @ latent.T
    torch.testing.assert_close(absorbed, decompressed)


def test_an_int8_cache_really_weighs_that_much():
    layer, T = Layer(8, 2, 64, bits=8), 10  # noqa: N806
    codes, scales = quantize_absmax(torch.randn(2, 2, T, 64), bits=8)
    assert codes.nbytes + scales.half().nbytes == formula_bytes(layer, T)


@given(st.integers(1, 60), st.integers(1, 70))
@settings(max_examples=30, deadline=None)
def test_pairs_are_those_of_the_mask(T, window):  # noqa: N803
    assert formula_pairs(T, window) == int(sliding_mask(T, window).sum())
    assert formula_pairs(T, 0) == int(sliding_mask(T, T).sum())


def test_every_fourth_layer_sees_everything():
    assert [layer.window for layer in stack("llama-3.1-8b", "gqa", 4, 99, 16)][:8] == [99, 99, 99, 0] * 2


@pytest.mark.parametrize(
    ("params", "gib"),
    [
        (Params(attention="mha"), 64),
        (Params(), 16),
        (Params(kv_bits=8), 8.125),
        (Params(attention="mla"), 4.5),
        (Params(full_every=4, seq_len=1_048_576), 32.09375),
        (Params(full_every=7, window=3, seq_len=2, model="llama-2-7b"), None),
    ],
    ids=str,
)
def test_known_sizes(params, gib):
    result = run(params)
    assert all(f.agrees for f in result.facts)
    assert gib is None or result.fact("cache_gib").measured == gib


@pytest.mark.parametrize("wrong", [{"attention": "mla", "kv_bits": 8}, {"full_every": 0}, {"seq_len": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
