# ruff: noqa: E402
"""FLOPs of the calculator against torch's counter on small real models of transformers, to the unit."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch.utils.flop_counter import FlopCounterMode

from llmprep.calc import compute, families, params

pytestmark = pytest.mark.parity

B, T = 2, 24
LLAMA = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 97,
}
MOE = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40, "decoder_sparse_step": 1}
GPT2 = {"n_embd": 48, "n_head": 6, "n_layer": 3, "n_positions": 64, "vocab_size": 97}
BERT = {k: v for k, v in LLAMA.items() if k not in ("num_key_value_heads", "head_dim")}
MLA = {
    "q_lora_rank": 20,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 12,
    "num_key_value_heads": 6,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 2,
    "topk_group": 1,
    "moe_intermediate_size": 40,
}
T5 = {"d_model": 48, "d_kv": 8, "d_ff": 80, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 6, "vocab_size": 97}
WINDOW = {**LLAMA, "sliding_window": 7}
CASES = {
    "gpt2": GPT2,
    "opt": {**BERT, "ffn_dim": 80, "word_embed_proj_dim": 32, "max_position_embeddings": 64},
    "bert": BERT,
    "albert": {**BERT, "embedding_size": 20},
    "modernbert": {**BERT, "pad_token_id": 0, "num_hidden_layers": 4, "local_attention": 6},
    "t5": T5,
    "llama": LLAMA,
    "mistral": WINDOW,
    "gemma2": WINDOW,
    "gemma3_text": WINDOW,
    "qwen3": LLAMA,
    "phi3": {**LLAMA, "pad_token_id": 0},
    "cohere": LLAMA,
    "starcoder2": LLAMA,
    "gpt_neox": BERT,
    "gpt_bigcode": GPT2,
    "falcon": {"hidden_size": 48, "num_attention_heads": 6, "num_hidden_layers": 3, "vocab_size": 97},
    "bloom": {"hidden_size": 48, "n_head": 6, "n_layer": 3, "vocab_size": 97},
    "mixtral": {**LLAMA, "num_local_experts": 6, "num_experts_per_tok": 2},
    "qwen3_moe": {**LLAMA, **MOE},
    "olmoe": {**LLAMA, "num_experts": 6, "num_experts_per_tok": 2},
    "gpt_oss": {**WINDOW, "num_local_experts": 6, "num_experts_per_tok": 2},
    "deepseek_v2": {**LLAMA, **MLA, "topk_method": "greedy"},
    "deepseek_v3": {**LLAMA, **MLA, "head_dim": 4},
}
ENCODERS = ("bert", "albert", "modernbert")
LLAMA_4 = {**LLAMA, "num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 64}
MAMBA = {"hidden_size": 48, "state_size": 8, "num_hidden_layers": 3, "vocab_size": 97, "conv_kernel": 4}


def build(model_type, fields=None):
    config = transformers.AutoConfig.for_model(model_type, **(fields or CASES[model_type]))
    config._attn_implementation = "eager"  # the counter does not know the flash kernel of CPUs
    config._experts_implementation = "eager"  # a loop over experts: each computes its own tokens and no others
    auto = {"t5": "AutoModelForSeq2SeqLM", **dict.fromkeys(ENCODERS, "AutoModel")}.get(
        model_type, "AutoModelForCausalLM"
    )
    torch.manual_seed(0)
    model = getattr(transformers, auto).from_config(config).eval()
    return model, families.shape(fields or config.to_dict(), model_type)


def counted(model, shape, *, tokens=T, batch=B, backward=False, **inputs):
    ids = torch.randint(97, (batch, tokens))
    inputs = {"input_ids": ids} | inputs
    if shape.encoder:
        inputs |= {"decoder_input_ids": ids[:, :10]}
    with FlopCounterMode(display=False) as counter:
        out = model(**inputs)
        if backward:
            out[0].float().sum().backward()
    return counter.get_total_flops(), out


@pytest.mark.parametrize("model_type", CASES)
def test_forward_is_what_the_counter_sees(model_type):
    model, shape = build(model_type)
    got, _ = counted(model, shape)
    if shape.encoder:
        ours = compute.forward(shape, 10, encoder_tokens=T, square=True)
    else:
        ours = compute.forward(shape, T, square=True)
    assert got == B * ours.total


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "mixtral"])
def test_training_is_three_times_the_forward_pass(model_type):
    model, shape = build(model_type)
    got, _ = counted(model.train(), shape, backward=True)
    assert got == B * compute.training_step(shape, T)


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "qwen3_moe"])
def test_decoding_computes_one_token_against_the_cache(model_type):
    model, shape = build(model_type)
    with torch.no_grad():
        _, out = counted(model, shape, use_cache=True)
        got, _ = counted(model, shape, tokens=1, past_key_values=out.past_key_values, use_cache=True)
    assert got == B * compute.decode(shape, T + 1).total


def test_llama_4_computes_every_expert_and_masks_afterwards():
    """transformers runs all experts on all tokens and multiplies the unchosen with zero; engines do not, nor do we."""
    model, shape = build("llama4_text", LLAMA_4)
    got, _ = counted(model, shape)
    ffn = shape.stacks[0].layer.ffn
    unchosen = 2 * 3 * 48 * ffn.expert.d_ff * (ffn.n - ffn.top_k)
    assert got == B * (compute.forward(shape, T, square=True).total + T * shape.n_layers * unchosen)


def test_of_mamba_the_counter_sees_matrices_convolution_and_readout():
    """Not the elementwise rest of the scan; and it counts the convolution over its padding of k − 1 tokens."""
    model, shape = build("mamba", MAMBA)
    got, _ = counted(model, shape)
    ours, mixer = compute.forward(shape, T), shape.stacks[0].layer.mixer
    convolution = 2 * mixer.d_inner * mixer.d_conv * (T + mixer.d_conv - 1)
    readout = 2 * mixer.d_inner * mixer.d_state * T
    assert got == B * (ours.linear + ours.head + 3 * (convolution + readout))
    assert ours.state == 3 * T * compute.state_flops(mixer) > 3 * readout


def test_2n_counts_the_head_but_no_table():
    """The rule of thumb against the counter: with all parameters for N, GPT-2's positions would be counted as work."""
    model, shape = build("gpt2")
    got, _ = counted(model, shape)
    attention = B * compute.forward(shape, T, square=True).attention
    assert got - attention == 2 * params.in_matmuls(shape) * B * T
    assert got - attention != 2 * params.total(shape) * B * T


def test_absorbed_attention_of_mla_gives_the_same_scores_and_sums():
    """Scores and sums through the latent, by torch, with the FLOPs that the formula gives for them."""
    _, shape = build("deepseek_v3")
    mixer = shape.stacks[0].layer.mixer
    h, r, nope, v = mixer.n_heads, mixer.kv_rank, mixer.nope_dim, mixer.v_dim
    q, k_rope = torch.randn(h, 1, nope + mixer.rope_dim).double(), torch.randn(T, mixer.rope_dim).double()
    latent, w_uk, w_uv = torch.randn(T, r).double(), torch.randn(h, r, nope).double(), torch.randn(h, r, v).double()
    keys = torch.cat([latent @ w_uk, k_rope.expand(h, T, -1)], dim=-1)  # (H, T, D_nope + D_rope)
    plain = (q @ keys.transpose(1, 2)).softmax(-1) @ (latent @ w_uv)
    absorbed_q = torch.cat([q[..., :nope] @ w_uk.transpose(1, 2), q[..., nope:]], dim=-1)  # (H, 1, r + D_rope)
    shared = torch.cat([latent, k_rope], dim=-1)  # (T, r + D_rope): one key for all heads
    with FlopCounterMode(display=False) as counter:
        sums = (absorbed_q @ shared.T).softmax(-1) @ latent
    torch.testing.assert_close(sums @ w_uv, plain)
    assert counter.get_total_flops() == T * compute.pair_flops(mixer, absorbed=True)
