# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep import content
from llmprep.demos.architecture.rolling_cache import Params, cache_bytes, decode_with_ring, masked_at_once, run, windows


@settings(max_examples=25, deadline=None)
@given(T=st.integers(1, 40), window=st.integers(1, 12), seed=st.integers(0, 100))
def test_ring_of_window_slots_is_masked_attention(T, window, seed):
    q, k, v = torch.randn(3, T, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    out, held = decode_with_ring(q, k, v, window)
    torch.testing.assert_close(out, masked_at_once(q, k, v, window))
    assert held == 2 * window * 8


@pytest.mark.parametrize(("slots", "first_wrong"), [(7, 7), (9, 8)])
def test_a_slot_too_few_or_too_many_is_wrong_from_there_on(slots, first_wrong):
    q, k, v = torch.randn(3, 20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    apart = (decode_with_ring(q, k, v, slots)[0] - masked_at_once(q, k, v, 8)).abs().amax(dim=-1)
    assert (apart[:first_wrong] < 1e-12).all()
    assert (apart[first_wrong:] > 1e-6).all()


@pytest.mark.parametrize(("model", "full"), [("mistral-7b-v0.1", 0), ("gemma-3-1b", 4), ("gemma-3-12b-text", 8)])
@pytest.mark.parametrize("context", [8192, 32_768, 131_072])
def test_bytes_are_those_of_the_table_of_models(model, full, context):
    kv = content.model(model)["kv_bf16"]
    assert windows(content.model(model)["config"]).count(0) == full
    assert cache_bytes(model, context) == kv[f"bytes_at_{context}"]
    assert cache_bytes(model, context, windowed=False) == kv["per_token_all_layers"] * context


@pytest.mark.parametrize(
    "p", [Params(window=2, seq_len=2), Params(slots=300, seq_len=200), Params(slots=1), Params(context=1)], ids=str
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"window": 1}, {"seq_len": 1}, {"context": 0}, {"model": "llama-3-8b"}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
