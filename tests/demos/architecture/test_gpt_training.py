# ruff: noqa: E402
import math
from collections import Counter

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.gpt_training import Params, count_losses, read_corpus, run, train
from llmprep.demos.architecture.mini_gpt import GPT


def test_corpus_comes_back_from_its_ids():
    ids, characters = read_corpus()
    assert "".join(characters[i] for i in ids[:33]) == "Alice was beginning to get very t"
    assert len(set(characters)) == len(characters) == int(ids.max()) + 1


def test_count_tables_against_counting_by_hand():
    text, unseen, V = torch.tensor([0, 1, 0, 1, 2, 0, 1, 1]), torch.tensor([0, 1, 2, 2]), 3  # noqa: N806
    pairs = Counter(zip(text.tolist(), text[1:].tolist(), strict=False))
    single = Counter(text[1:].tolist())
    by_hand_pairs = by_hand_single = 0.0
    for a, b in ((0, 1), (1, 2), (2, 2)):
        after_a = sum(n for (x, _), n in pairs.items() if x == a)
        by_hand_pairs -= math.log((pairs[a, b] + 0.1) / (after_a + 0.1 * V)) / 3
        by_hand_single -= math.log((single[b] + 0.1 * V) / (7 + 0.1 * V * V)) / 3
    assert count_losses(text, unseen, V) == pytest.approx((by_hand_single, by_hand_pairs))


def test_training_can_learn_one_short_text_by_heart():
    """The check to make before any long run: a batch that is seen again and again must be learned."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT(20, 16, 32, 2, 1)
        losses = train(model, torch.randperm(17), steps=60, batch=4)
    assert losses[0] == pytest.approx(math.log(20), abs=0.2)
    assert losses[-1] < 0.1


def test_a_short_run_agrees_and_the_leak_falls_faster():
    """With the mask, fewer steps than pairs need; without it, already below what any honest model reaches."""
    honest, leaking = (run(Params(steps=100, n_layers=1, causal=c)) for c in (True, False))
    assert all(f.agrees for r in (honest, leaking) for f in r.facts)
    assert 2.1 < honest.fact("end_loss_unseen").measured < honest.fact("single_loss").measured
    assert leaking.fact("end_loss_unseen").measured < 1.5


@pytest.mark.parametrize("wrong", [{"n_layers": 9}, {"steps": 5}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
