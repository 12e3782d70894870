# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.unseen_context import NeuralLM, Params, perplexity, run, trigram, true_rows


def test_the_language_by_hand():
    """K = 2, V = 4: words 0 and 2 are even, 1 and 3 odd; even + odd is odd."""
    rows = true_rows(torch.tensor([[0, 2], [0, 1], [1, 3]]), 2, 4)
    assert rows.tolist() == [[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0.5, 0, 0.5, 0]]


def test_one_word_of_context_alone_says_nothing():
    contexts = torch.cartesian_prod(torch.arange(12), torch.arange(12))
    rows = true_rows(contexts, 3, 12).view(12, 12, 12)
    torch.testing.assert_close(rows.mean(dim=0), torch.full((12, 12), 1 / 12))
    torch.testing.assert_close(rows.mean(dim=1), torch.full((12, 12), 1 / 12))


def test_perplexity_of_known_rows():
    truth = true_rows(torch.tensor([[0, 1], [2, 3]]), 4, 8)
    assert perplexity(truth, truth) == pytest.approx(2, rel=1e-6)
    assert perplexity(torch.full((2, 8), 1 / 8), truth) == pytest.approx(8, rel=1e-6)


def test_trigram_rows_sum_to_one_and_know_what_was_shown():
    contexts, texts = torch.tensor([[0, 1], [2, 1]]), torch.tensor([[3, 0], [3, 0], [3, 2]])
    rows = trigram(contexts, texts, 4)(torch.tensor([[0, 1], [2, 1], [3, 3]]))
    torch.testing.assert_close(rows.sum(dim=-1), torch.ones(3))
    assert rows[0].argmax() == 3
    assert rows[1].argmax() == 0


def test_the_network_shares_one_embedding_between_both_places():
    model = NeuralLM(vocab=10, d_model=4, hidden=8)
    assert sum(p.numel() for p in model.parameters()) == 10 * 4 + (8 * 8 + 8) + (8 * 10 + 10)


def test_only_the_network_generalises():
    result = run(Params(seed=1))
    assert all(f.agrees for f in result.facts)
    (_, _, neural), (_, shown, counted) = result.table.rows
    assert neural < 11
    assert shown < 9
    assert counted > 30


@pytest.mark.parametrize("bad", [{"n_classes": 1}, {"words_per_class": 1}, {"shown": 1.0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
