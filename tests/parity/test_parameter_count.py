# ruff: noqa: E402
import pytest

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from llmprep import content
from llmprep.calc import families, params
from llmprep.demos.architecture.parameter_count import Decoder, by_hand

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("name", ["gpt2", "llama-3-8b", "qwen2.5-7b", "qwen3-0.6b", "mistral-7b-v0.1"])
def test_count_is_that_of_the_reference_model(name):
    entry = content.model(name)
    config = transformers.AutoConfig.for_model(entry["model_type"], **entry["config"])
    with torch.device("meta"):
        reference = transformers.AutoModelForCausalLM.from_config(config)
        ours = Decoder(entry["config"], entry["model_type"])
    expected = sum(p.numel() for p in reference.parameters())
    assert sum(p.numel() for p in ours.parameters()) == expected
    assert params.total(families.of(name)) == expected
    assert by_hand(families.of(name)) == expected


def test_gpt2_layer_computes_what_the_reference_computes():
    """Two layers of width 32 with the reference's own weights, in its order."""
    sizes = {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 16, "vocab_size": 50, "tie_word_embeddings": True}
    config = transformers.GPT2Config(**sizes, activation_function="gelu")
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    reference, ours = transformers.GPT2LMHeadModel(config).eval(), Decoder(sizes, "gpt2").eval()
    theirs = reference.state_dict()
    renamed = {"tokens.weight": theirs["transformer.wte.weight"], "positions.weight": theirs["transformer.wpe.weight"]}
    renamed |= {"head.weight": theirs["lm_head.weight"]}
    names = {
        "norms.0": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "norms.1": "ln_2",
        "ffn.0": "mlp.c_fc",
        "ffn.2": "mlp.c_proj",
    }
    for kind in ("weight", "bias"):
        renamed[f"norms.{kind}"] = theirs[f"transformer.ln_f.{kind}"]
        for layer in range(2):
            for our_name, their_name in names.items():
                tensor = theirs[f"transformer.h.{layer}.{their_name}.{kind}"]
                renamed[f"layers.{layer}.{our_name}.{kind}"] = tensor.T if tensor.dim() == 2 else tensor  # Conv1D
    ours.load_state_dict(renamed)
    ids = torch.randint(50, (2, 10))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), reference(ids).logits, rtol=1e-4, atol=1e-5)
