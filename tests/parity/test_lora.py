# ruff: noqa: E402
"""Our LoRA layer against peft: start, output, gradients, merge and the number of trainable parameters."""

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from llmprep import content
from llmprep.demos.training.lora import LoRALinear
from llmprep.demos.training.lora_savings import TARGETS, Params, run

pytestmark = pytest.mark.parity
MODULES = {
    "q": "q_proj",
    "k": "k_proj",
    "v": "v_proj",
    "o": "o_proj",
    "gate": "gate_proj",
    "up": "up_proj",
    "down": "down_proj",
}


def both(d=24, k=16, rank=4, alpha=12.0):
    """The same frozen weight in our layer and in peft's, with the same A; B as each library starts it."""
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(k, d, bias=False))
    weight = base[0].weight.detach().clone()
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"], lora_dropout=0.0)
    model = peft.get_peft_model(base, config)
    ours = LoRALinear(weight, rank, alpha)
    theirs = model.base_model.model[0]
    ours.A.data.copy_(theirs.lora_A["default"].weight)
    return ours, theirs, model, weight


def test_both_start_at_the_base():
    ours, theirs, _, weight = both()
    x = torch.randn(5, 16)
    assert not theirs.lora_B["default"].weight.any()
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours(x), x @ weight.T)


def test_both_draw_a_from_the_same_range():
    ours, theirs, _, _ = both(k=4096, rank=64)
    fresh = LoRALinear(torch.zeros(8, 4096), 64, 16.0).A
    for a in (fresh, theirs.lora_A["default"].weight):
        assert a.abs().max() <= 4096**-0.5
        assert a.std().item() == pytest.approx((3 * 4096) ** -0.5, rel=0.02)
    assert ours.scaling == theirs.scaling["default"]


def test_outputs_and_gradients():
    ours, theirs, _, _ = both()
    b = torch.randn(24, 4)
    ours.B.data.copy_(b)
    theirs.lora_B["default"].weight.data.copy_(b)
    grads = []
    for layer in (ours, theirs):
        x = torch.linspace(-1, 1, 80).reshape(5, 16).requires_grad_()
        out = layer(x)
        out.square().sum().backward()
        grads.append((out.detach(), x.grad))
    torch.testing.assert_close(grads[0], grads[1])
    torch.testing.assert_close(ours.A.grad, theirs.lora_A["default"].weight.grad)
    torch.testing.assert_close(ours.B.grad, theirs.lora_B["default"].weight.grad)
    assert ours.weight.grad is None
    assert theirs.base_layer.weight.grad is None


def test_merge():
    ours, theirs, model, _ = both()
    b = torch.randn(24, 4)
    ours.B.data.copy_(b)
    theirs.lora_B["default"].weight.data.copy_(b)
    torch.testing.assert_close(ours.merged(), model.merge_and_unload()[0].weight)


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # peft 0.21 on transformers 5
@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("name", ["llama-3-8b", "qwen3-8b"])
def test_trainable_parameters_of_a_real_shape(name, targets):
    """One block on the meta device, times the layers."""
    shape = content.model(name)["config"]
    kind = transformers.LlamaConfig if name.startswith("llama") else transformers.Qwen3Config
    config = kind(**{**shape, "num_hidden_layers": 1, "vocab_size": 8})
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
        modules = [MODULES[t] for t in TARGETS[targets]]
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=16, target_modules=modules))
    trainable, _ = adapted.get_nb_trainable_parameters()
    ours = run(Params(model=name, targets=targets, rank=16, d_model=64)).fact("trainable_params").measured
    assert ours == trainable * shape["num_hidden_layers"]
