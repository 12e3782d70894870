# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.bigram_softmax import Params, formula_bigram, formula_entropy, run, train_bigram
from llmprep.demos.architecture.ngram import add_k, count


def test_counts_are_the_ngram_demo_without_smoothing():
    tokens = list("abracadabra abracadabra")
    table = count(tokens, 2)
    for (h, w), p in formula_bigram(tokens).items():
        assert p == pytest.approx(add_k(table, (h,), sorted(set(tokens)), 0.0)[w])


def test_entropy_by_hand():
    """After a: b, b, c. After b: a, a. After c: a. Only a leaves a doubt, in three of six pairs."""
    entropy = -(2 * math.log(2 / 3) + math.log(1 / 3)) / 6
    assert formula_entropy(list("ababaca")) == pytest.approx(entropy)


@pytest.mark.parametrize("text", ["abracadabra", "aab" * 9, "the rabbit hole went straight on like a tunnel"])
def test_training_finds_the_counts(text):
    letters = sorted(set(text))
    trained, losses = train_bigram(torch.tensor([letters.index(c) for c in text]), len(letters), 0.0)
    for (h, w), p in formula_bigram(list(text)).items():
        assert trained[letters.index(h), letters.index(w)].item() == pytest.approx(p, abs=1e-5)
    assert losses[-1] == pytest.approx(formula_entropy(list(text)), abs=1e-5)
    assert losses[-1] >= formula_entropy(list(text)) - 1e-12


def test_weight_decay_smooths():
    """As add-k does, it lifts every zero, and it costs likelihood on the training text."""
    text = "abracadabra"
    letters = sorted(set(text))
    trained, losses = train_bigram(torch.tensor([letters.index(c) for c in text]), len(letters), 0.01)
    assert trained.min() > 0.01
    assert losses[-1] > formula_entropy(list(text)) + 0.01


def test_facts_agree():
    assert all(f.agrees for f in run(Params(n_characters=1500)).facts)
    assert run(Params(n_characters=1500, weight_decay=0.001)).fact("cells_off").measured > 1000


@pytest.mark.parametrize("bad", [{"n_characters": 10}, {"weight_decay": -1.0}, {"tolerance": 0.0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
