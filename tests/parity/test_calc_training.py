# ruff: noqa: E402
"""The calculator's activations, adapters and training FLOPs against real layers of transformers and peft.

Bytes are those that autograd saves: each storage once, weights left out. One layer is the difference between models of
three layers and of two, so that RoPE tables, embedding and head cancel.
"""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.flop_counter import FlopCounterMode

from llmprep.calc import activations, families
from llmprep.calc.adapters import Adapters, trainable
from llmprep.calc.job import Job
from llmprep.calc.memory import LEAN

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:`.*gradient_checkpointing.*` is deprecated:FutureWarning"),
]

BATCH, TOKENS, VOCAB, D = 2, 16, 97, 48
LLAMA_LIKE = {
    "vocab_size": VOCAB,
    "hidden_size": D,
    "intermediate_size": 80,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
SPARSE = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
CONFIGS = {
    "llama": LLAMA_LIKE,
    "mistral": LLAMA_LIKE,
    "granite": LLAMA_LIKE,
    "qwen2": LLAMA_LIKE,
    "qwen3": LLAMA_LIKE,
    "starcoder2": {**LLAMA_LIKE, "residual_dropout": 0.0, "embedding_dropout": 0.0, "attention_dropout": 0.0},
    "gpt2": {
        "vocab_size": VOCAB,
        "n_embd": D,
        "n_head": 6,
        "n_positions": 64,
        "activation_function": "gelu_pytorch_tanh",
        **dict.fromkeys(("resid_pdrop", "attn_pdrop", "embd_pdrop"), 0.0),
    },
    "mixtral": {**LLAMA_LIKE, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {**LLAMA_LIKE, **SPARSE, "num_experts": 4},
    "deepseek_v3": {
        **LLAMA_LIKE,
        **SPARSE,
        "num_key_value_heads": 6,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 9,
        "q_lora_rank": 16,
        "kv_lora_rank": 24,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
    },
}
RMS = ("llama", "mistral", "granite", "qwen2", "qwen3")
PLAIN_SOFTMAX = ("gpt2",)  # in the dtype of the scores, where others take FP32
FULL = {"qv": ["q_proj", "v_proj"], "attention": ["q_proj", "k_proj", "v_proj", "o_proj"], "all-linear": "all-linear"}


def build(family, n_layers, attention="sdpa", dtype=torch.bfloat16):
    layers = "n_layer" if family == "gpt2" else "num_hidden_layers"
    config = transformers.CONFIG_MAPPING[family](
        **CONFIGS[family], **{layers: n_layers}, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention).train()


def shape_of(family, n_layers=2):
    layers = "n_layer" if family == "gpt2" else "num_hidden_layers"
    return families.shape({**CONFIGS[family], layers: n_layers, "tie_word_embeddings": family == "gpt2"}, family)


def adapted(model, targets, rank=4):
    config = peft.LoraConfig(r=rank, target_modules=FULL[targets], lora_dropout=0.0)
    return peft.get_peft_model(model, config, autocast_adapter_dtype=False)


def saved_bytes(model, forward, known=()):
    """Bytes a token of what autograd keeps of `forward()`."""
    seen = {StorageWeakRef(t.untyped_storage()).cdata for t in (*model.parameters(), *model.buffers(), *known)}
    alive, total = [], 0

    def weigh(tensor):
        nonlocal total
        storage = tensor.untyped_storage()
        identity = StorageWeakRef(storage).cdata
        if identity not in seen:
            seen.add(identity)
            alive.append(tensor)  # so that no storage is freed and its identity used again
            total += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
        alive.append(forward())
    return total / (BATCH * TOKENS)


def tokens():
    return torch.randint(0, VOCAB, (BATCH, TOKENS), generator=torch.Generator().manual_seed(0))


def saved_by_a_layer(family, attention="sdpa", dtype=torch.bfloat16, targets=None, **prepare):
    def saved(n_layers):
        model = build(family, n_layers, attention, dtype)
        if prepare:
            model.gradient_checkpointing_enable(**prepare)
        model = adapted(model, targets) if targets else model
        ids = tokens()
        return saved_bytes(model, lambda: model(input_ids=ids, use_cache=False).logits, [ids])

    return saved(3) - saved(2)


def formula(family, attention="sdpa", dtype=torch.bfloat16, targets=None):
    """(with fused kernels, what transformers keeps beyond that)."""
    shape, options = shape_of(family), {"itemsize": dtype.itemsize, "scores": attention == "eager"}
    layer, lora = shape.stacks[0].layer, Adapters(4, targets) if targets else None
    fused = activations.of_layer(shape, layer, TOKENS, **options, adapters=lora)
    extra = activations.unfused(shape, layer, TOKENS, **options, frozen=lora is not None)
    return sum(each.per_token for each in fused), extra


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", RMS)
def test_a_layer_keeps_what_the_formula_says(family, attention, dtype):
    fused, extra = formula(family, attention, dtype)
    assert saved_by_a_layer(family, attention, dtype) == fused + extra
    assert family in activations.AS_MEASURED


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["gpt2", "starcoder2"])
def test_a_layer_norm_layer_needs_nothing_but_the_fused_kernels(family, attention):
    """Native LayerNorm and tanh-GELU keep their inputs; off the GPU its statistics are in BF16: 8 bytes less.

    Eager attention of Starcoder2 takes the softmax in FP32 and repeats K and V, GPT-2 does neither.
    """
    shape = shape_of(family)
    fused = activations.of_layer(shape, shape.stacks[0].layer, TOKENS, scores=attention == "eager")
    extra = 4 * 6 * TOKENS + 2 * 2 * (48 - 16) if (family, attention) == ("starcoder2", "eager") else 0
    assert saved_by_a_layer(family, attention) == sum(each.per_token for each in fused) + extra - 8


def test_multi_head_latent_attention():
    """Eager; with sdpa, V is a view into the wider product of W_ukv and keeps all of it."""
    fused, extra = formula("deepseek_v3", "eager")
    assert saved_by_a_layer("deepseek_v3", "eager") == fused + extra
    assert saved_by_a_layer("deepseek_v3") > sum(formula("deepseek_v3"))


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_mixture_of_experts(family, attention):
    """Exactly, but for the router's indices and weights: 64-bit positions of two chosen experts, sorted and not."""
    fused, extra = formula(family, attention)
    beyond = saved_by_a_layer(family, attention) - fused - extra
    assert 0 < beyond <= 2 * 40 + 8


@pytest.mark.parametrize("targets", FULL)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_layer_with_adapters(family, attention, targets):
    fused, extra = formula(family, attention, targets=targets)
    assert saved_by_a_layer(family, attention, targets=targets) == fused + extra


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_full_recomputation_keeps_the_input_of_a_layer(family):
    options = {"gradient_checkpointing_kwargs": {"use_reentrant": False}}
    assert saved_by_a_layer(family, **options) == 2 * D


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
def test_the_head_keeps_fp32_logits(dtype):
    """log_softmax keeps its FP32 result; the unfused norm 4 bytes a channel and a statistic more."""
    model, ids = build("llama", 1, dtype=dtype), tokens()
    hidden = torch.randn(BATCH, TOKENS, D, dtype=dtype, requires_grad=True)
    logits = []

    def forward():
        logits.append(model.lm_head(model.model.norm(hidden)))
        return nn.functional.cross_entropy(logits[0].float().flatten(0, 1), ids.flatten(), reduction="sum")

    kept = {each.name: each.per_token for each in activations.of_head(shape_of("llama"), dtype.itemsize)}
    second_copy = kept.pop("logits in 16 bits", 0)
    saved = saved_bytes(model, forward, [ids])
    scalar = 4 / (BATCH * TOKENS)  # the total weight of the targets
    assert saved == sum(kept.values()) + 4 * D + 4 + scalar
    assert second_copy == (logits[0].nbytes / (BATCH * TOKENS) if dtype == torch.bfloat16 else 0)


@pytest.mark.parametrize("targets", FULL)
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_peft_trains_as_many_parameters(family, targets):
    model = adapted(build(family, 2), targets)
    assert trainable(shape_of(family), Adapters(4, targets)) == model.get_nb_trainable_parameters()[0]


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")  # Conv1D is stored the other way round
def test_peft_fuses_what_a_checkpoint_fuses():
    """GPT-2's c_attn is one matrix: r·(d + 3d), where q, k and v alone would be 3·r·2d."""
    model = adapted(build("gpt2", 2), "all-linear")
    alone = trainable(shape_of("gpt2"), Adapters(4, "all-linear"))
    assert model.get_nb_trainable_parameters()[0] == alone - 2 * 4 * (6 * D - 4 * D)


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys did not match:RuntimeWarning")
@pytest.mark.parametrize(("family", "experts", "ff"), [("mixtral", 4, 80), ("qwen3_moe", 4, 32)])
def test_peft_adapts_experts_and_routers(family, experts, ff):
    """Each expert's gate and up are one matrix (d, 2·ff) with twice the rank: 2·r·ff more than apart."""
    model = adapted(build(family, 2), "all-linear")
    apart = trainable(shape_of(family), Adapters(4, "all-linear"))
    assert model.get_nb_trainable_parameters()[0] == apart + 2 * experts * 2 * 4 * ff


def counted_flops(model):
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens(), use_cache=False).logits.float().sum().backward()
    return counter.get_total_flops() / (BATCH * TOKENS)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_flops_of_training(family):
    job = Job(shape_of(family), TOKENS)
    assert counted_flops(build(family, 2, "eager")) == job.flops


def test_flops_of_full_recomputation():
    """All of a layer's forward pass but W_down: torch stops once it has what the backward pass reads."""
    model = build("llama", 2, "eager")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    job = Job(shape_of("llama"), TOKENS)
    assert counted_flops(model) == job.hardware_flops("full") - 2 * 2 * 80 * D


def test_flops_of_selective_recomputation():
    """QKᵀ once more: torch stops before PV, which nothing reads. The layer of demos/training/memory_estimator."""
    from llmprep.demos.training.memory_estimator import GPTLayer

    layer, flops = GPTLayer(D, 6), {}
    for policy in ("none", "selective"):
        x = torch.randn(1, TOKENS, D, requires_grad=True)
        with FlopCounterMode(display=False) as counter:
            layer(x, policy).sum().backward()
        flops[policy] = counter.get_total_flops() / TOKENS
    job = Job(shape_of("gpt2", 1), TOKENS)
    assert flops["selective"] - flops["none"] == job.hardware_flops("selective") - job.hardware_flops("none")


@pytest.mark.parametrize("targets", ["qv", "all-linear"])
def test_flops_of_lora(targets):
    """4N + 6 per adapter, but the first layer has no gradient to pass on: q, k, v and their A are spared it.

    With frozen keys, neither do the first layer's keys get one from the scores.
    """
    job = Job(shape_of("llama"), TOKENS, "lora", adapters=Adapters(4, targets))
    kv = 2 * 8
    first = 2 * D * (D + 2 * kv) + 2 * 4 * D * {"qv": 2, "all-linear": 3}[targets]
    first += 2 * D * TOKENS if targets == "qv" else 0
    assert counted_flops(adapted(build("llama", 2, "eager"), targets)) == job.flops - first


def test_eight_bit_adam():
    """A byte for each moment and an FP32 scale for each 256; the code books of 1 kB are left out."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    weight = torch.nn.Parameter(torch.randn(64, 256))
    weight.grad = torch.randn_like(weight)
    optimizer = bitsandbytes.optim.AdamW8bit([weight])
    optimizer.step()
    state = optimizer.state[weight]
    moments = sum(state[name].nbytes for name in ("state1", "state2", "absmax1", "absmax2"))
    assert moments / weight.numel() + 4 == LEAN["mixed-adam8bit"].optimizer
