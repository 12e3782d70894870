# ruff: noqa: E402
"""Our cached attention and transformers' Llama: same weights, same outputs, same bytes."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmprep.demos.inference.kv_cache import CachedAttention, decode_with_cache, formula_bytes_per_token

pytestmark = pytest.mark.parity

CONFIG = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 97,
    "max_position_embeddings": 64,
    "attn_implementation": "eager",
}


@pytest.fixture
def llama():
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).eval().double()


def test_token_by_token_equals_llama_attention_in_one_pass(llama):
    """Llama's attention takes cos and sin as arguments: with 1 and 0, no rotation is left, and ours must agree."""
    theirs = llama.model.layers[0].self_attn
    ours = CachedAttention(48, 6, 2, 8).double()
    for mine, name in ((ours.wq, "q_proj"), (ours.wk, "k_proj"), (ours.wv, "v_proj"), (ours.wo, "o_proj")):
        mine.load_state_dict(getattr(theirs, name).state_dict())
    x = torch.randn(2, 12, 48, dtype=torch.float64)
    cos, sin = torch.ones(2, 12, 8, dtype=torch.float64), torch.zeros(2, 12, 8, dtype=torch.float64)
    mask = torch.full((12, 12), -torch.inf, dtype=torch.float64).triu(1)[None, None]
    with torch.no_grad():
        full = theirs(x, position_embeddings=(cos, sin), attention_mask=mask)[0]
        token_by_token = decode_with_cache([ours], x, prompt_tokens=1) - x  # without the residual
    torch.testing.assert_close(token_by_token, full)


def test_llama_with_its_cache_equals_one_full_forward(llama):
    """The whole model, RoPE and all: the positions of a cached step go on where the cache ends."""
    ids = torch.randint(97, (2, 10))
    with torch.no_grad():
        full = llama(ids, use_cache=False).logits
        cache = transformers.DynamicCache(config=llama.config)
        steps = [llama(ids[:, t : t + 1], past_key_values=cache, use_cache=True).logits for t in range(10)]
    torch.testing.assert_close(torch.cat(steps, dim=1), full)


def test_llama_cache_weighs_what_the_formula_says(llama):
    with torch.no_grad():
        cache = llama(torch.randint(97, (3, 10)), use_cache=True).past_key_values
    weighed = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert weighed == formula_bytes_per_token(3, 2, 8, 8) * 3 * 10  # float64; 3 sequences of 10 tokens


def test_restarting_positions_in_a_cached_step_changes_the_logits(llama):
    ids = torch.randint(97, (1, 8))
    with torch.no_grad():
        full = llama(ids, use_cache=False).logits[:, -1]
        for position, same in ((7, True), (0, False)):
            cache = llama(ids[:, :7], use_cache=True).past_key_values
            step = llama(ids[:, 7:], past_key_values=cache, position_ids=torch.tensor([[position]])).logits[:, -1]
            assert torch.allclose(step, full) is same
