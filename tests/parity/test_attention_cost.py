# ruff: noqa: E402
"""The FLOPs of a layer against those of real Llama and GPT-2 layers of transformers, counted by torch."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch.utils.flop_counter import FlopCounterMode
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

from llmprep import content
from llmprep.demos.architecture.attention_cost import count_linear_flops, count_quadratic_flops, shape_of

pytestmark = pytest.mark.parity
TOKENS = 64


@pytest.mark.parametrize(
    ("name", "layer_class"),
    [("llama-3-8b", LlamaDecoderLayer), ("qwen3-8b", Qwen3DecoderLayer), ("gpt2", GPT2Block)],
)
def test_linear_and_quadratic_part_add_up_to_the_layer_of_transformers(name, layer_class):
    entry, s = content.model(name), shape_of(name)
    known = {k: v for k, v in entry["config"].items() if k != "rope_theta"}
    config = transformers.AutoConfig.for_model(entry["model_type"], **known)
    config._attn_implementation = "eager"
    with torch.device("meta"):
        layer, x = layer_class(config, layer_idx=0), torch.empty(1, TOKENS, s.d_model)
        rotation = {"position_embeddings": (torch.empty(1, TOKENS, s.head_dim),) * 2} if name != "gpt2" else {}
    with FlopCounterMode(display=False) as counter:
        layer(x, **rotation)
    ours = count_linear_flops(s, TOKENS, with_ffn=True) + count_quadratic_flops(s, TOKENS)
    assert counter.get_total_flops() == ours
