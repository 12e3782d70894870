import pytest

from llmprep.calc import families, params, quant
from llmprep.calc.adapters import TARGETS, Adapters, linear, trainable
from llmprep.calc.job import Job
from llmprep.errors import UserError

GB = 1e9


def job(name, method="full", rank=16, targets="all-linear", recipe="mixed", seq_len=512):
    adapters = None if method == "full" else Adapters(rank, targets)
    return Job(families.of(name), seq_len, method, recipe, adapters)


def test_lora_on_gpt3():
    """LoRA, arXiv 2106.09685: r = 4 on W_q and W_v: 18,874,368 parameters, 37.7 MB in FP16.

    The paper's 35 MB is the same rounded down, its 10,000 times an order of magnitude.
    """
    gpt3 = job("gpt3-175b", "lora", 4, "qv")
    assert gpt3.trained == 96 * 2 * 4 * (12288 + 12288) == 18_874_368
    assert 2 * gpt3.trained / 1e6 == pytest.approx(37.7, abs=0.05)
    assert gpt3.total / gpt3.trained == pytest.approx(9250.9, abs=0.1)


def test_what_of_loras_memory_comes_out():
    """350 GB with LoRA are the frozen weights; 1.2 TB for full fine-tuning is no Adam: 6.9 B a parameter."""
    lora, full = job("gpt3-175b", "lora", 4, "qv"), job("gpt3-175b")
    assert lora.states / GB == pytest.approx(350, rel=0.003)
    assert full.states / GB == pytest.approx(2794, rel=0.001)
    least = job("gpt3-175b", recipe="bf16")
    assert least.states > 1.15 * 1200 * GB


def test_qlora_memory():
    """QLoRA, arXiv 2305.14314: more than 780 GB in full at 12 B a parameter, less than 48 GB; 65B, r = 64."""
    assert job("llama-65b", recipe="bf16-adam32").states / GB == pytest.approx(783.4, abs=0.1)
    qlora = job("llama-65b", "qlora", 64, recipe="bf16-adam32")
    assert 40 * GB < qlora.states < 48 * GB
    assert qlora.trained == pytest.approx(0.0122 * qlora.total, rel=0.01)


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_states_are_those_of_the_qlora_demo(method):
    """demos/training/qlora_memory: 12 B for what is trained, NF4 in the layers."""
    pytest.importorskip("torch")
    from llmprep.demos.training.qlora_memory import formula_gb

    ours = job("llama-65b", method, 64, recipe="bf16-adam32")
    n_linear = linear(ours.shape)
    theirs = formula_gb(method, n_linear, ours.total - n_linear, ours.trained, 12, 4 + 8 / 64 + 32 / (64 * 256))
    assert ours.states / GB == pytest.approx(theirs, rel=1e-6)


def test_double_quantisation_saves_3_gb_of_65b():
    shape = families.of("llama-65b")
    saved = quant.weigh(shape, "nf4").n_bytes - quant.weigh(shape, "nf4-dq").n_bytes
    assert saved / linear(shape) * 8 == pytest.approx(0.5 - 0.126953125, abs=1e-6)
    assert saved / GB == pytest.approx(3.03, abs=0.02)


def test_base_of_qlora_is_nf4_in_the_layers_and_16_bits_around():
    qlora = job("llama-65b", "qlora")
    shape = qlora.shape
    bits = 4 + 8 / 64 + 32 / (64 * 256)
    expected = linear(shape) * bits / 8 + 2 * (params.total(shape) - linear(shape))
    assert qlora.frozen_bytes == pytest.approx(expected, rel=1e-6)


def test_base_of_lora_is_16_bits():
    assert job("llama-2-7b", "lora").frozen_bytes == 2 * 6_738_415_616
    assert job("llama-2-7b", "lora", recipe="fp32").frozen_bytes == 4 * 6_738_415_616
    assert job("llama-2-7b").frozen_bytes == 0


@pytest.mark.parametrize("name", ["llama-3-8b", "qwen3-0.6b", "mixtral-8x7b"])
def test_more_targets_train_more(name):
    sizes = [trainable(families.of(name), Adapters(8, targets)) for targets in TARGETS]
    assert sizes == sorted(set(sizes))
    assert trainable(families.of(name), Adapters(16, "all-linear")) == 2 * sizes[-1]


def test_every_expert_gets_an_adapter():
    shape = families.of("mixtral-8x7b")
    d, ff, experts = 4096, 14336, 8
    attention = 2 * (d + d) + 2 * (d + 1024)
    per_layer = attention + experts * 3 * (d + ff) + (d + experts)
    assert trainable(shape, Adapters(4, "all-linear")) == 32 * 4 * per_layer


def test_latent_attention_has_no_w_v():
    with pytest.raises(UserError, match=r"--targets qv: .* take all-linear"):
        trainable(families.of("mamba-130m"), Adapters(4, "qv"))


def test_frozen_weights_cost_4n():
    """2N forward, 2N for the gradient of the input; the adapters' own 6 are small."""
    full, lora = job("llama-2-7b"), job("llama-2-7b", "lora", 8, "qv")
    n = params.in_matmuls(full.shape)
    assert full.flops - lora.flops == pytest.approx(2 * n - 6 * lora.trained, rel=1e-12)
    assert lora.flops_by_6n == 4 * lora.total + 6 * lora.trained
    assert full.flops_by_6n == 6 * full.total


def test_full_recomputation_runs_adapters_again():
    lora = job("llama-2-7b", "lora", 8)
    forward = (lora.forward.linear + lora.forward.attention) / 512
    assert lora.hardware_flops("full") - lora.flops == pytest.approx(forward + 2 * lora.trained, rel=1e-12)


def test_of_a_mixture_only_chosen_adapters_compute():
    lora = job("mixtral-8x7b", "lora", 4)
    d, ff = 4096, 14336
    idle = 32 * 4 * 6 * 3 * (d + ff)
    assert lora.trained - lora.active_adapters == idle
