# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.encoder_decoder_cache import (
    KeysValues,
    Params,
    decoder_only_caches,
    encoder_decoder_caches,
    formula_bytes,
    run,
)
from llmprep.demos.inference.kv_cache import formula_bytes_per_token


@settings(max_examples=15, deadline=None)
@given(L=st.integers(1, 3), H=st.integers(1, 3), S=st.integers(1, 9), T=st.integers(1, 5))
def test_layer_for_layer_both_kinds_keep_the_same(L, H, S, T):  # noqa: N803
    with torch.no_grad():
        layers = [KeysValues(H, 4) for _ in range(L)]
        one = decoder_only_caches(layers, S, T)
        growing, fixed = encoder_decoder_caches(layers, S, T)
    assert [a + b for a, b in zip(growing, fixed, strict=True)] == one
    assert one[-1] == formula_bytes(L, H, 4, S + T) == (S + T) * formula_bytes_per_token(L, H, 4, 2)
    assert len(set(fixed)) == 1


def test_half_the_decoder_layers_half_the_cache():
    assert run(Params(decoder_layers=6)).fact("over_decoder_only").measured == 0.5


@pytest.mark.parametrize("kind", ["encoder-decoder", "decoder-only"])
@pytest.mark.parametrize("odd", [{"source_tokens": 1, "target_tokens": 1}, {"decoder_layers": 1, "n_kv_heads": 1}])
def test_run_agrees_for_odd_settings(kind, odd):
    assert all(f.agrees for f in run(Params(kind=kind, **odd)).facts)


@pytest.mark.parametrize("wrong", [{"decoder_layers": 0}, {"decoder_layers": 99}, {"source_tokens": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
