# ruff: noqa: E402
"""The window of Mistral and Gemma 3 in transformers: mask, reach and cache."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.masking_utils import sliding_window_causal_mask_function

from llmprep.demos.architecture.sliding_window import formula_reach, sliding_mask

pytestmark = pytest.mark.parity
SMALL = {
    "vocab_size": 32,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "attn_implementation": "eager",
}


def mistral(n_layers: int, window: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.MistralConfig(num_hidden_layers=n_layers, sliding_window=window, **SMALL)
        return transformers.MistralForCausalLM(config).double().eval()


@pytest.mark.parametrize("window", [1, 3, 10])
def test_window_includes_the_token_itself(window):
    visible = sliding_window_causal_mask_function(window)
    i = torch.arange(12)
    assert torch.equal(visible(0, 0, i[:, None], i[None]), sliding_mask(12, window))


@pytest.mark.parametrize(("n_layers", "window"), [(1, 5), (3, 4), (4, 3)])
def test_reach_of_mistral(n_layers, window):
    model = mistral(n_layers, window)
    x = torch.randn(1, 30, 32, dtype=torch.float64, requires_grad=True)
    model(inputs_embeds=x).logits[0, -1].sum().backward()
    assert int((x.grad[0] != 0).any(dim=-1).sum()) == formula_reach(n_layers, window)


def test_gemma_3_sees_everything_through_its_full_layers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.Gemma3TextConfig(num_hidden_layers=6, sliding_window=3, **SMALL)
        model = transformers.Gemma3ForCausalLM(config).double().eval()
    assert config.layer_types.count("full_attention") == 1
    x = torch.randn(1, 30, 32, dtype=torch.float64, requires_grad=True)
    model(inputs_embeds=x).logits[0, -1].sum().backward()
    assert int((x.grad[0] != 0).any(dim=-1).sum()) == 30 > formula_reach(6, 3)


def test_mistral_decodes_from_a_cache_that_stops_growing():
    model, window = mistral(2, 5), 5
    tokens = torch.randint(32, (1, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        at_once = model(tokens).logits
        cache = transformers.DynamicCache(config=model.config)
        steps = [model(tokens[:, t : t + 1], past_key_values=cache).logits for t in range(20)]
    torch.testing.assert_close(torch.cat(steps, dim=1), at_once)
    # between two steps window − 1 keys suffice: the new token brings its own
    assert {layer.keys.shape[2] for layer in cache.layers} == {window - 1}
