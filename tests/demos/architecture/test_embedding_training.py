# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.embedding_training import Params, cosine_gap, make_language, run


@pytest.mark.parametrize("shared", [True, False])
def test_a_language_is_a_distribution(shared):
    language = make_language(6, 4, shared=shared)
    torch.testing.assert_close(language.sum(1), torch.ones(24))
    assert (language > 0).sum(1).tolist() == [3 * 4] * 24
    alike = [torch.equal(language[i], language[i + 1]) for i in range(0, 24, 4)]
    assert all(alike) == shared


def test_cosine_gap_by_hand():
    table = torch.tensor([[1.0, 0], [2, 0], [-1, 0], [-2, 0]])
    within, between = cosine_gap(table, per_class=2)
    assert (within, between) == pytest.approx((1, -1))
    within, between = cosine_gap(table[[0, 2, 1, 3]], per_class=2)  # classes that mean nothing
    assert within == pytest.approx(-1)
    assert between == pytest.approx(0)


@pytest.mark.parametrize("seed", [0, 1])
def test_only_shared_contexts_bring_tokens_together(seed):
    shared = run(Params(seed=seed, steps=150))
    own = run(Params(seed=seed, steps=150, contexts="own"))
    assert shared.fact("gap_after").measured > 0.9
    assert abs(own.fact("gap_after").measured) < 0.1
    for result in (shared, own):
        assert all(fact.agrees for fact in result.facts)
        assert abs(result.fact("gap_before").measured) < 0.1
        assert result.fact("entropy").measured < result.fact("last_loss").measured < result.fact("first_loss").measured


@pytest.mark.parametrize("bad", [{"n_classes": 2}, {"d": 1}, {"steps": 0}, {"batch": 4}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
