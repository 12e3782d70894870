# ruff: noqa: E402
"""What autograd saves in our GPT layer and in transformers' GPT2Block, both of full size on the meta device."""

from functools import partial

import pytest

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from torch.utils.checkpoint import checkpoint
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from llmprep.demos.training.memory_estimator import GPTLayer, bytes_per_sbh, saved_bytes

pytestmark = pytest.mark.parity


@pytest.fixture
def byte_masks(monkeypatch):
    """Off the GPU, torch keeps a dropout mask in the dtype of its input; on it, and here, in a byte an entry."""

    def dropout(x, p, training, inplace=False):
        return torch.native_dropout(x, p, training)[0]

    monkeypatch.setattr(torch.nn.functional, "dropout", dropout)


@pytest.mark.parametrize(("s", "b", "h", "a"), [(1024, 2, 768, 12), (2048, 1, 4096, 32)])
@pytest.mark.parametrize("recompute", ["none", "full"])
@pytest.mark.usefixtures("byte_masks")
def test_a_gpt2_block_saves_what_our_layer_saves(s, b, h, a, recompute):
    config = transformers.GPT2Config(n_embd=h, n_head=a, n_positions=s, activation_function="gelu")
    config._attn_implementation = "eager"
    with torch.device("meta"):
        block, ours = GPT2Block(config, layer_idx=0).bfloat16().train(), GPTLayer(h, a).bfloat16()
        x = torch.empty(b, s, h, dtype=torch.bfloat16, requires_grad=True)
        mask = torch.zeros(1, 1, s, s, dtype=torch.bfloat16)
    block.a = a  # saved_bytes leaves out what is no larger than a number per token and head
    if recompute == "full":
        block.gradient_checkpointing = True
        block._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    theirs, _ = saved_bytes(block, x, lambda: block(x, attention_mask=mask))
    mine, _ = saved_bytes(ours, x, lambda: ours(x, recompute))
    assert theirs == mine == s * b * h * bytes_per_sbh(s, h, a, recompute, itemsize=2)
