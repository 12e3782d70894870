# ruff: noqa: E402
"""Temperature, top-k, top-p and the repetition penalty against transformers' own logits processors."""

import math
import random

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmprep.demos.inference.nucleus_sampling import nucleus, renormalise, top_k_set
from llmprep.demos.inference.repetition_penalty import penalise
from llmprep.demos.inference.temperature import softmax

pytestmark = pytest.mark.parity


def make_logits(seed):
    rng = random.Random(seed)
    return [rng.gauss(0, 3) for _ in range(50)]


def processed(processor, logits, text=(0,)):
    scores = torch.tensor([logits], dtype=torch.float64)
    return processor(torch.tensor([list(text)]), scores)[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.5])
def test_temperature(seed, temperature):
    logits = make_logits(seed)
    theirs = processed(transformers.TemperatureLogitsWarper(temperature), logits).softmax(-1)
    assert softmax(logits, temperature) == pytest.approx(theirs.tolist(), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 7, 50])
def test_top_k(seed, k):
    logits = make_logits(seed)
    probs = softmax(logits)
    theirs = processed(transformers.TopKLogitsWarper(k), logits).softmax(-1)
    assert renormalise(probs, top_k_set(probs, k)) == pytest.approx(theirs.tolist(), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.99])
def test_top_p(seed, top_p):
    logits = make_logits(seed)
    probs = softmax(logits)
    theirs = processed(transformers.TopPLogitsWarper(top_p), logits).softmax(-1)
    assert renormalise(probs, nucleus(probs, top_p)) == pytest.approx(theirs.tolist(), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_temperature_comes_before_top_p_in_generate(seed):
    logits = make_logits(seed)
    chain = transformers.LogitsProcessorList(
        [transformers.TemperatureLogitsWarper(2.0), transformers.TopPLogitsWarper(0.8)]
    )
    probs = softmax(logits, 2.0)
    theirs = processed(chain, logits).softmax(-1)
    assert renormalise(probs, nucleus(probs, 0.8)) == pytest.approx(theirs.tolist(), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("theta", [1.0, 1.2, 2.0])
def test_repetition_penalty_is_the_sign_aware_rule(seed, theta):
    logits, text = make_logits(seed), [3, 3, 5, 8, 9, 10, 11]
    theirs = processed(transformers.RepetitionPenaltyLogitsProcessor(theta), logits, text)
    ours = penalise(logits, text, "sign_aware", theta)
    assert ours == pytest.approx(theirs.tolist(), abs=1e-12)
    if theta > 1:
        assert any(not math.isclose(a, b) for a, b in zip(ours, penalise(logits, text, "ctrl", theta), strict=True))
