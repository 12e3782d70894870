# ruff: noqa: E402
"""Acceptance and residual against the step inside transformers' assisted generation, with its dice replaced."""

import random
from itertools import product

import pytest

torch = pytest.importorskip("torch")
utils = pytest.importorskip("transformers.generation.utils")

from llmprep.demos.inference.speculative_decoding import accept_probability, replacement
from llmprep.demos.inference.temperature import softmax

pytestmark = pytest.mark.parity
VOCAB = 4


@pytest.mark.parametrize("dice", [(0.05, 0.05), (0.05, 0.6), (0.6, 0.05), (0.95, 0.95)])
def test_same_acceptances_and_same_residual(dice, monkeypatch):
    rng = random.Random(0)
    target, draft = ([softmax([rng.gauss(0, 1.5) for _ in range(VOCAB)]) for _ in range(VOCAB)] for _ in range(2))
    p, q = torch.tensor(target, dtype=torch.float64), torch.tensor(draft, dtype=torch.float64)
    drawn_from = []

    def multinomial(probs, num_samples):
        drawn_from.append(probs[0].tolist())
        return torch.zeros(1, num_samples, dtype=torch.long)

    monkeypatch.setattr(torch, "multinomial", multinomial)
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.tensor(dice, dtype=like.dtype).expand_as(like))
    outcomes = set()
    for x1, x2 in product(range(VOCAB), repeat=2):
        contexts = [0, x1, x2]
        _, matches = utils._speculative_sampling(
            torch.tensor([contexts]), q[contexts[:2]].log()[None], 2, p[contexts].log()[None]
        )
        accepted = 0
        for last, x, die in zip(contexts, (x1, x2), dice, strict=False):
            if die >= accept_probability(target[last][x], draft[last][x], "exact"):
                break
            accepted += 1
        last = contexts[accepted]
        ours = target[last] if accepted == 2 else replacement(target[last], draft[last], "exact")
        assert int(matches) == accepted
        assert drawn_from[-1] == pytest.approx(ours, abs=1e-12)
        outcomes.add(accepted)
    assert len(outcomes) > 1 or dice == (0.05, 0.05)
