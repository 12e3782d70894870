# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep import content
from llmprep.calc import families, params
from llmprep.demos.architecture.parameter_count import (
    Decoder,
    Params,
    attend,
    by_hand,
    count_built,
    gpt2_by_hand,
    llama_by_hand,
    run,
)


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-xl", 1_557_611_200),
        ("llama-2-7b", 6_738_415_616),
        ("llama-3-8b", 8_030_261_248),
        ("llama-3-70b", 70_553_706_496),
        ("mistral-7b-v0.1", 7_241_732_096),
        ("qwen2.5-7b", 7_615_616_512),
        ("qwen3-0.6b", 596_049_920),
    ],
)
def test_built_and_by_hand_are_the_published_count(name, total):
    entry = content.model(name)
    assert count_built(entry["config"], entry["model_type"]).total() == total
    assert by_hand(families.of(name)) == total


def test_whiteboard_examples():
    assert gpt2_by_hand(50_257, 12, 768, n_positions=1024, n_tables=1) == 124_439_808
    assert llama_by_hand(128_256, 32, 4096, H=32, H_kv=8, D=128, ff=14_336, n_tables=2) == 8_030_261_248


@pytest.mark.parametrize("name", ["gpt2", "llama-3.2-1b", "qwen2.5-7b", "qwen3-8b"])
def test_parts_are_the_terms_of_the_calculator(name):
    entry = content.model(name)
    parts, bill = count_built(entry["config"], entry["model_type"]), Counter(params.terms(families.of(name)))
    shape = families.of(name)
    qk_norms = 2 * shape.attention.head_dim * shape.n_layers * bool(shape.attention.qk_norm)
    assert parts["tokens"] == bill["token embedding"]
    assert parts["positions"] == bill["position embedding"]
    assert parts["ffn"] == bill["feed-forward"]
    assert parts["head"] == bill["output head"]
    assert parts["attention"] == bill["attention"] - qk_norms
    assert parts["norms"] == bill["norms"] + qk_norms


@settings(max_examples=20, deadline=None)
@given(
    layers=st.integers(1, 3),
    group=st.sampled_from([1, 2, 4]),
    head_dim=st.sampled_from([4, 6]),
    ff=st.integers(5, 40),
    vocab=st.integers(3, 50),
    tied=st.booleans(),
    family=st.sampled_from(["llama", "qwen2", "qwen3"]),
)
def test_any_small_shape(layers, group, head_dim, ff, vocab, tied, family):
    config = {
        "vocab_size": vocab,
        "num_hidden_layers": layers,
        "hidden_size": 24,
        "num_attention_heads": 4,
        "num_key_value_heads": 4 // group,
        "head_dim": head_dim,
        "intermediate_size": ff,
        "tie_word_embeddings": tied,
    }
    assert count_built(config, family).total() == by_hand(families.shape(config, family))


def test_attention_is_torchs_own():
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(attend(q, k, v), expected.transpose(1, 2).flatten(2))


def test_the_built_model_is_causal():
    torch.manual_seed(0)
    config = {**content.model("gpt2")["config"], "n_embd": 32, "n_head": 4, "n_layer": 2, "vocab_size": 50}
    model, ids = Decoder(config, "gpt2").eval(), torch.randint(50, (1, 6))
    changed = ids.clone()
    changed[0, 3] = (changed[0, 3] + 1) % 50
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_twelve_d_squared_holds_for_swiglu_of_two_thirds():
    """3·d·ff at ff = 8d/3 is the 8d² of a plain FFN, so Llama-2-7B is a 12d² model within 3%."""
    facts = {f.name: f.measured for f in run(Params("llama-2-7b")).facts}
    assert facts["rule_error"] == pytest.approx(-0.0245, abs=1e-4)
    assert facts["off_transformers"] == 0


def test_mistral_7b_is_llama_3_8b_with_a_quarter_of_the_vocabulary():
    assert run(Params("llama-3-8b", vocab_size=32_000)).fact("params_total").measured == 7_241_732_096


@pytest.mark.parametrize(
    "bad", [{"n_kv_heads": 5}, {"n_kv_heads": -1}, {"model": "gpt2", "n_kv_heads": 1}, {"vocab_size": -5}]
)
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
