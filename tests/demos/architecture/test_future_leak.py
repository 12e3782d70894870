# ruff: noqa: E402, N806
import math

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.causal_mask import TinyGPT, token_log_probs
from llmprep.demos.architecture.future_leak import Params, formula_loss, run


@pytest.fixture(scope="module")
def leaky():
    return run(Params(vocab=8, seq_len=4, seed=1))


def test_formula_has_the_last_token_only():
    assert formula_loss(16, 8, causal=True) == pytest.approx(2.7726, abs=1e-4)
    assert formula_loss(16, 8, causal=False) == pytest.approx(2.7726 / 8, abs=1e-4)


def test_without_mask_the_loss_falls_below_the_entropy_of_the_text(leaky):
    assert all(f.agrees for f in leaky.facts)
    assert leaky.fact("loss").measured < math.log(8) / 2
    assert leaky.fact("loss_when_generating").measured > math.log(8)


def test_with_mask_no_loss_is_below_the_entropy(leaky):
    mask, loss, generating = leaky.table.rows[0]
    assert mask == "causal"
    assert loss == pytest.approx(math.log(8), abs=0.1)
    assert generating == pytest.approx(loss, abs=1e-5)


def test_a_perfect_copier_built_by_hand_has_exactly_that_loss():
    """A model that reads the next token off its input is right T − 1 times of T and clueless once."""
    V, T = 16, 8
    text = torch.randint(V, (64, T), generator=torch.Generator().manual_seed(0))

    class Copier(TinyGPT):
        def forward(self, tokens, *, causal=True):
            logits = torch.zeros(*tokens.shape, V)
            if not causal:
                logits[:, :-1] = 100 * torch.nn.functional.one_hot(tokens[:, 1:], V)
            return logits

    for causal in (True, False):
        loss = -token_log_probs(Copier(V, T), text, causal=causal).mean().item()
        assert loss == pytest.approx(formula_loss(V, T, causal=causal), abs=1e-5)


@pytest.mark.parametrize("wrong", [{"vocab": 2}, {"seq_len": 64}, {"steps": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
