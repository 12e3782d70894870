# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.causal_mask import TinyGPT
from llmprep.demos.architecture.prefix_reuse import Params, formula_tokens_run, run, tokens_to_run, vectors


@pytest.mark.parametrize(("causal", "kept"), [(True, 7), (False, 0)])
def test_a_shared_beginning_can_be_kept_under_the_mask_only(causal, kept):
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = TinyGPT(16, 12).double()
        a, b = torch.randint(16, (2, 1, 12))
        b[:, :7], b[:, 7] = a[:, :7], (a[:, 7] + 1) % 16
        first, second = (vectors(model, text, causal=causal) for text in (a, b))
    assert first.shape == (12, 2 * 32)  # two layers of width 32
    assert 12 - tokens_to_run(first, second) == kept


def test_an_empty_cache_saves_nothing():
    assert tokens_to_run(torch.empty(0), torch.ones(5, 3)) == 5


def test_formula_by_hand():
    assert formula_tokens_run(3, 10, "causal") == 30
    assert formula_tokens_run(3, 10, "both sides") == 10 + 20 + 30


@pytest.mark.parametrize("attention", ["causal", "both sides"])
@pytest.mark.parametrize("odd", [{"n_turns": 1}, {"turn_tokens": 1}, {"n_turns": 5, "turn_tokens": 30}], ids=str)
def test_run_agrees_for_odd_settings(attention, odd):
    assert all(f.agrees for f in run(Params(attention=attention, **odd)).facts)


@pytest.mark.parametrize("wrong", [{"n_turns": 0}, {"turn_tokens": 1000}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
