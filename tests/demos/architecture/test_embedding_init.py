# ruff: noqa: E402, N803
import math

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.embedding_init import (
    Params,
    embedding_table,
    formula_first_loss,
    mean_cosine_of_pairs,
    run,
    tied_logits,
)


def test_a_lookup_is_one_hot_times_the_table():
    table = embedding_table(50, 8, 0.02)
    ids = torch.tensor([3, 3, 49])
    torch.testing.assert_close(torch.nn.functional.embedding(ids, table), torch.eye(50)[ids] @ table)


def test_the_formula_at_gpt2():
    assert formula_first_loss(50_257, 768, 0.02) == pytest.approx(10.8249 + 0.1536, abs=1e-3)
    assert formula_first_loss(50_257, 768, 0) == math.log(50_257)


@pytest.mark.parametrize(("V", "d", "std"), [(2000, 64, 0.02), (2000, 64, 0.1), (5000, 256, 0.05), (5000, 256, 0.1)])
def test_the_first_loss_is_that_of_log_normal_logits(V, d, std):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        logits = tied_logits(embedding_table(V, d, std), torch.randn(1000, d))
        loss = torch.nn.functional.cross_entropy(logits, torch.randint(V, (1000,)))
    assert loss.item() == pytest.approx(formula_first_loss(V, d, std), abs=0.25)
    assert logits.std().item() == pytest.approx(std * math.sqrt(d), rel=0.05)


def test_states_are_normalised_before_the_head():
    table = torch.randn(10, 4)
    h = torch.randn(3, 4)
    torch.testing.assert_close(tied_logits(table, h), tied_logits(table, 100 * h + 7), rtol=1e-3, atol=1e-3)


def test_random_rows_are_nearly_orthogonal():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        table = embedding_table(1000, 256, 0.5)
        mean, spread = mean_cosine_of_pairs(table, *torch.randint(1000, (2, 5000)))
    assert abs(mean) < 0.01
    assert 1 / 16 * 0.9 < spread < 1 / 16 * 1.3  # a few pairs are a row with itself


@pytest.mark.parametrize("std", [0.001, 0.02, 0.08, 1.0])
@pytest.mark.parametrize("model", ["pythia-14m", "gpt2"])
def test_facts_agree(model, std):
    result = run(Params(model=model, std=std, n_positions=64))
    assert all(fact.agrees for fact in result.facts)
    assert (result.fact("excess_loss").measured > 30) == (std == 1.0)


@pytest.mark.parametrize("bad", [{"std": 0}, {"n_positions": 8}, {"model": "llama-3-8b"}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
