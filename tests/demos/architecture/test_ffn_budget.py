# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep import content
from llmprep.demos.architecture.ffn_budget import FFN, MODELS, Params, equal_price_width, formula_share, run, weights
from llmprep.demos.architecture.parameter_count import count_built


@pytest.mark.parametrize(
    ("d", "ffn", "multiple", "width"),
    [(768, "plain", 1, 3072), (768, "swiglu", 1, 2048), (4096, "swiglu", 256, 11008), (5120, "swiglu", 256, 13824)],
    ids=["T5 base", "its GLU variants", "Llama-2-7B", "Llama-2-13B"],
)
def test_widths_are_those_of_the_papers(d, ffn, multiple, width):
    assert equal_price_width(d, ffn, multiple) == width


@pytest.mark.parametrize("name", ["llama-2-7b", "llama-2-13b", "llama-7b", "llama-13b", "llama-65b"])
def test_released_llamas_follow_the_two_thirds_rule(name):
    config = content.model(name)["config"]
    assert equal_price_width(config["hidden_size"], "swiglu", 256) == config["intermediate_size"]


@pytest.mark.parametrize("name", ["llama-3-8b", "llama-2-70b"])
def test_later_ones_do_not(name):
    config = content.model(name)["config"]
    assert config["intermediate_size"] == 3.5 * config["hidden_size"]


@pytest.mark.parametrize("name", [m for m in MODELS if m != "gpt2"])
def test_share_is_that_of_the_whole_built_model(name):
    """Without Qwen2.5's biases on q, k, v, which the share of the matrices leaves out."""
    entry = content.model(name)
    c, parts = entry["config"], count_built(entry["config"], entry["model_type"])
    bias = 0
    if entry["model_type"] == "qwen2":
        per_layer = (c["num_attention_heads"] + 2 * c["num_key_value_heads"]) * 128
        bias = c["num_hidden_layers"] * per_layer
    expected = parts["ffn"] / (parts["ffn"] + parts["attention"] - bias)
    share = formula_share(
        c["hidden_size"], c["intermediate_size"], 3, c["num_key_value_heads"] / c["num_attention_heads"]
    )
    assert share == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(d=st.integers(3, 300))
def test_equal_price_is_eight_d_squared_up_to_the_rounding(d):
    with torch.device("meta"):
        plain = weights(FFN(d, equal_price_width(d, "plain", 1), gated=False))
        gated = weights(FFN(d, equal_price_width(d, "swiglu", 1), gated=True))
    assert plain == 8 * d * d
    assert 0 <= gated - plain < 3 * d


def test_a_gated_ffn_of_full_width_costs_half_as_much_again():
    assert run(Params(d_ff=4 * 4096)).fact("over_classic").measured == 1.5


@pytest.mark.parametrize(
    "p", [Params("plain", 64, n_heads=4, n_kv_heads=1), Params(d_model=2, n_heads=1, n_kv_heads=1, multiple_of=64)]
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"n_kv_heads": 5}, {"d_model": 100}, {"d_ff": -1}, {"multiple_of": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
