# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep import content
from llmprep.calc import compute, families
from llmprep.demos.training.train_planner import (
    MOST_CARDS,
    Params,
    bytes_on_a_card,
    cards_by_hand,
    cards_by_search,
    counted_flops_per_token,
    run,
    saved_by_a_layer,
)

BILLION = 10**9


@pytest.mark.parametrize(("stage", "cards"), [(0, 0), (1, 6), (2, 4), (3, 3)])
def test_13b_on_cards_of_80_gb(stage, cards):
    assert cards_by_hand(13 * BILLION, stage, 80e9, 0) == cards
    assert cards_by_search(13 * BILLION, stage, 80e9, 0) == cards


@settings(max_examples=50, deadline=None)
@given(
    n_params=st.integers(10**6, 10**11),
    stage=st.integers(0, 3),
    activations=st.integers(0, 70).map(lambda gb: gb * 1e9),
)
def test_search_finds_the_smallest_and_the_formula_knows_it(n_params, stage, activations):
    cards = cards_by_search(n_params, stage, 80e9, activations)
    assert cards == cards_by_hand(n_params, stage, 80e9, activations)
    if cards > 1:
        assert bytes_on_a_card(n_params, stage, cards - 1) + activations > 80e9
    if not cards:
        assert bytes_on_a_card(n_params, stage, MOST_CARDS) + activations > 80e9


@pytest.mark.parametrize("name", ["gpt2", "llama-3.2-1b", "qwen2.5-7b", "qwen3-0.6b"])
@pytest.mark.parametrize("s", [128, 1024])
def test_counted_flops_are_palms(name, s):
    entry = content.model(name)
    counted = counted_flops_per_token(entry["config"], entry["model_type"], s)
    assert counted == pytest.approx(compute.training_flops_per_token(families.of(name), s), rel=1e-9)


@pytest.mark.parametrize(("recompute", "gb"), [("none", 47.8), ("selective", 14.3), ("full", 0.84)])
def test_activations_of_13b(recompute, gb):
    """s·b·h·L·(34 + 5as/h) at s = 2048, h = 5120, L = a = 40: 5as/h is 80."""
    assert 40 * saved_by_a_layer(2048, 1, 5120, 40, recompute) / 1e9 == pytest.approx(gb, rel=0.005)


def test_llama_13b_as_trained():
    """135,168 A100 hours for 1T tokens (arXiv 2302.13971, table 15): an MFU of 0.514 by 6ND."""
    result = run(Params(tokens_billion=1000, mfu=0.514))
    assert result.fact("card_hours_6nd").measured == pytest.approx(135_168, rel=0.001)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_facts_agree(stage):
    result = run(Params("llama-3.2-3b", "a100-40gb", stage, "none", seq_len=1024, cards=7))
    assert [f.name for f in result.facts if not f.agrees] == []


@pytest.mark.parametrize("bad", [{"mfu": 0}, {"mfu": 1.1}, {"cards": 0}, {"card": "v100-32gb"}, {"tokens_billion": 0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
