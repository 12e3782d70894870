from dataclasses import replace

import pytest

from llmprep import content
from llmprep.calc import params, shapes
from llmprep.errors import UserError

SUPPORTED = [m["name"] for m in content.load_json("models.json")["models"] if m["model_type"] in shapes.FAMILIES]


@pytest.mark.parametrize("name", SUPPORTED)
def test_total_is_what_instantiating_the_model_gives(name):
    entry = content.model(name)
    shape = shapes.of(name)
    assert params.total(shape) == entry["params_total"]
    assert params.terms(shape)["token embedding"] == entry["params_embedding"]


def test_every_family_is_exercised():
    assert {content.model(name)["model_type"] for name in SUPPORTED} == set(shapes.FAMILIES)
    assert len(SUPPORTED) >= 30


def test_terms_of_gpt2():
    d, layers = 768, 12
    assert params.terms(shapes.of("gpt2")) == {
        "token embedding": 50_257 * d,
        "position embedding": 1_024 * d,
        "attention": layers * (4 * d * d + 4 * d),
        "feed-forward": layers * (8 * d * d + 5 * d),
        "norms": (2 * layers + 1) * 2 * d,
        "output head": 0,
    }


@pytest.mark.parametrize(
    ("name", "share"),
    [("llama-2-7b", 0.0389), ("llama-3-8b", 0.1308), ("gpt2", 0.3102), ("llama-3.1-405b", 0.0104)],
)
def test_vocabulary_share(name, share):
    assert params.vocabulary_share(shapes.of(name)) == pytest.approx(share, abs=5e-5)


def test_a_tied_head_is_multiplied_with_but_stored_once():
    tied = shapes.of("llama-3.2-1b")
    untied = replace(tied, tied=False)
    table = tied.vocab_size * tied.d_model
    assert params.total(untied) - params.total(tied) == table
    assert params.in_matmuls(untied) == params.in_matmuls(tied)


@pytest.mark.parametrize("bias", [False, True])
def test_llama_bias_switches(bias):
    config = {**content.model("tinyllama-1.1b")["config"], "attention_bias": bias, "mlp_bias": bias}
    shape = shapes.from_config(config, "llama")
    d, kv, ff = 2048, 4 * 64, 5632
    extra = 22 * ((d + 2 * kv + d) + (2 * ff + d))
    assert params.total(shape) == 1_100_048_384 + bias * extra


def test_unknown_family_names_the_known_ones():
    with pytest.raises(UserError, match=r"'qwen4'.*did you mean 'qwen[23]'.*gpt2, llama, mistral, qwen2, qwen3"):
        shapes.from_config({}, "qwen4")


def test_a_config_that_lacks_a_field_says_which():
    with pytest.raises(UserError, match="vocab_size"):
        shapes.from_config({"num_attention_heads": 8}, "llama")
