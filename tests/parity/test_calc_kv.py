# ruff: noqa: E402
"""Bytes of the calculator against what the cache classes of transformers hold after a real run."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmprep.calc import families, kv

pytestmark = pytest.mark.parity

LLAMA = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 97,
    "max_position_embeddings": 256,
}
GPT2 = {"n_embd": 48, "n_head": 6, "n_layer": 3, "n_positions": 128, "vocab_size": 97}
MAMBA = {"hidden_size": 48, "state_size": 8, "num_hidden_layers": 3, "vocab_size": 97, "conv_kernel": 4}
T5 = {"d_model": 48, "d_kv": 8, "d_ff": 80, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 6, "vocab_size": 97}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24}
NEXT = {
    **LLAMA,
    **MOE,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "decoder_sparse_step": 1,
}
MLA = {
    **LLAMA,
    "num_key_value_heads": 6,
    "q_lora_rank": 20,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "head_dim": 4,
    "v_head_dim": 12,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "moe_intermediate_size": 40,
}
CASES = {  # model_type and fields; a window of 7 is full after 20 tokens
    "MHA": ("gpt2", GPT2),
    "GQA": ("llama", LLAMA),
    "MQA": ("llama", {**LLAMA, "num_key_value_heads": 1}),
    "all windows": ("mistral", {**LLAMA, "sliding_window": 7}),
    "some windows": ("gemma2", {**LLAMA, "sliding_window": 7}),
    "window not full": ("gemma2", {**LLAMA, "sliding_window": 64}),
    "MLA": ("deepseek_v3", MLA),
    "Mamba": ("mamba", MAMBA),
    "hybrid": ("qwen3_next", NEXT),
}
B = 2


def build(model_type, fields, dtype):
    config = transformers.AutoConfig.for_model(model_type, **fields)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().to(dtype)
    return model, families.shape(config.to_dict(), model_type)


def held(cache):
    """Bytes of every tensor that a cache keeps, each storage's visible part once."""
    total = 0
    for layer in cache.layers:
        for name in ("keys", "values", "conv_states", "recurrent_states"):
            found = getattr(layer, name, None)
            for tensor in found.values() if isinstance(found, dict) else [found]:
                if torch.is_tensor(tensor):
                    total += tensor.numel() * tensor.element_size()
    return total


@pytest.mark.parametrize("tokens", [5, 20])
@pytest.mark.parametrize("case", CASES)
def test_a_dynamic_cache_holds_what_we_count(case, tokens):
    """Between steps DynamicCache keeps window − 1 tokens: the next one completes the window, which is what we count."""
    model_type, fields = CASES[case]
    model, shape = build(model_type, fields, torch.bfloat16)
    ids = torch.randint(97, (B, tokens))
    with torch.no_grad():
        out = model(ids, use_cache=True)
    cache = out.get("past_key_values") or out["cache_params"]
    waiting = sum(
        p.n * 2 * p.per_token for p in kv.layers(shape) if p.window and tokens >= p.window
    )  # bytes of one token in the windows that are full
    assert held(cache) == B * (kv.request_bytes(shape, tokens) - waiting)


@pytest.mark.parametrize("case", ["GQA", "some windows"])
def test_a_static_cache_is_allocated_for_the_window_and_no_more(case):
    model_type, fields = CASES[case]
    model, shape = build(model_type, fields, torch.bfloat16)
    cache = transformers.StaticCache(config=model.config, max_cache_len=50)
    with torch.no_grad():
        model(torch.randint(97, (B, 10)), past_key_values=cache, use_cache=True)
    assert held(cache) == B * kv.request_bytes(shape, 50)


def test_an_encoder_decoder_caches_both_sides():
    config = transformers.AutoConfig.for_model("t5", **T5)
    torch.manual_seed(0)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config).eval().to(torch.bfloat16)
    with torch.no_grad():
        out = model(input_ids=torch.randint(97, (B, 30)), decoder_input_ids=torch.randint(97, (B, 9)), use_cache=True)
    cache = out.past_key_values
    ours = kv.request_bytes(families.shape(config.to_dict(), "t5"), 9, encoder_tokens=30)
    assert held(cache.self_attention_cache) + held(cache.cross_attention_cache) == B * ours


def test_recurrent_states_stay_in_fp32_and_convolutions_in_16_bits():
    """The assumption behind STATE_BYTES and CONV_BYTES."""
    model, _ = build(*CASES["Mamba"], torch.bfloat16)
    with torch.no_grad():
        layer = model(torch.randint(97, (B, 9)), use_cache=True)["cache_params"].layers[0]
    first = {
        name: next(iter(found.values())) if isinstance(found, dict) else found
        for name in ("conv_states", "recurrent_states")
        for found in [getattr(layer, name)]
    }
    assert first["recurrent_states"].element_size() == kv.STATE_BYTES
    assert first["conv_states"].element_size() == kv.CONV_BYTES
