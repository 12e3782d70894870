from dataclasses import replace

import pytest

from llmprep import content
from llmprep.calc import families, params
from llmprep.calc.shapes import Experts, FeedForward

MODELS = [m["name"] for m in content.load_json("models.json")["models"] if m["model_type"] in families.FAMILIES]


@pytest.mark.parametrize("name", MODELS)
def test_total_is_what_instantiating_the_model_gives(name):
    entry = content.model(name)
    shape = families.of(name)
    assert params.total(shape) == sum(params.terms(shape).values()) == entry["params_total"]


def test_terms_of_gpt2():
    d, layers = 768, 12
    assert params.terms(families.of("gpt2")) == {
        "token embedding": 50_257 * d,
        "position embedding": 1_024 * d,
        "attention": layers * (4 * d * d + 4 * d),
        "feed-forward": layers * (8 * d * d + 5 * d),
        "norms": (2 * layers + 1) * 2 * d,
    }


@pytest.mark.parametrize(
    ("name", "share"),
    [("llama-2-7b", 0.0389), ("llama-3-8b", 0.1308), ("gpt2", 0.3102), ("llama-3.1-405b", 0.0104)],
)
def test_vocabulary_share(name, share):
    assert params.vocabulary_share(families.of(name)) == pytest.approx(share, abs=5e-5)


def test_a_tied_head_is_multiplied_with_but_stored_once():
    tied = families.of("llama-3.2-1b")
    untied = replace(tied, tied=False)
    table = tied.vocab_size * tied.d_model
    assert params.total(untied) - params.total(tied) == table
    assert params.in_matmuls(untied) == params.in_matmuls(tied)
    assert params.active(untied).without_input_embedding == params.active(tied).without_input_embedding
    assert params.active(untied).with_embeddings - params.active(tied).with_embeddings == table


def test_three_conventions_for_active_parameters_of_gpt2():
    d = 768
    used = params.active(families.of("gpt2"))
    assert used.with_embeddings == 124_439_808
    assert used.without_input_embedding == 124_439_808 - 1_024 * d  # the table is also the head
    assert used.without_embedding_and_head == 124_439_808 - 1_024 * d - 50_257 * d


def test_only_chosen_experts_are_active():
    """8 experts of 3·4·6 weights, 2 of them chosen, beside a shared one of 3·4·5 and a router of 4·8."""
    ffn = Experts(8, 2, FeedForward(6), FeedForward(5))
    shape = families.of("tinyllama-1.1b")
    stack = shape.stacks[0]
    sparse = replace(shape, d_model=4, stacks=(replace(stack, layer=replace(stack.layer, ffn=ffn)),))
    bill = params.terms(sparse)
    assert bill["experts"] == 22 * 8 * 72
    assert bill["shared expert"] == 22 * 60
    assert bill["router"] == 22 * 32
    assert params.total(sparse) - params.active(sparse).with_embeddings == 22 * 6 * 72


@pytest.mark.parametrize("bias", [False, True])
def test_llama_bias_switches(bias):
    shape = families.of("tinyllama-1.1b", attention_bias=bias, mlp_bias=bias)
    d, kv, ff = 2048, 4 * 64, 5632
    extra = 22 * ((d + 2 * kv + d) + (2 * ff + d))
    assert params.total(shape) == 1_100_048_384 + bias * extra
