# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.recall_race import (
    AttentionReader,
    GruReader,
    Params,
    best_without_keys,
    lookup_task,
    run,
)


def test_answer_is_the_value_of_the_asked_key():
    keys, values, asked, answer = lookup_task(200, 10)
    for k, v, q, a in zip(keys.tolist(), values.tolist(), asked.tolist(), answer.tolist(), strict=True):
        assert len(set(k)) == 10
        assert dict(zip(k, v, strict=True))[q] == a


@pytest.mark.parametrize(("n_pairs", "expected"), [(1, 1.0), (2, (1 + 1 / 8) / 2)])
def test_bar_without_keys(n_pairs, expected):
    torch.manual_seed(0)
    assert best_without_keys(n_pairs) == pytest.approx(expected, abs=0.02)


def test_attention_ignores_the_order_of_the_pairs_and_a_gru_does_not():
    torch.manual_seed(0)
    keys, values, asked, _ = lookup_task(3, 6)
    order = torch.randperm(6)
    for make, same in ((AttentionReader, True), (GruReader, False)):
        model = make(16)
        assert torch.allclose(model(keys, values, asked), model(keys[:, order], values[:, order], asked)) is same


def test_memory_of_the_gru_has_a_fixed_size_and_that_of_attention_grows():
    model = GruReader(16)
    for n in (2, 20):
        keys, values, _, _ = lookup_task(1, n)
        pairs = model.key(keys) + model.value(values)
        assert model.mixer(pairs.transpose(0, 1))[1].numel() == 16  # all that is left of n pairs
        assert pairs.numel() == 16 * n  # what attention still has


def test_both_learn_one_pair_but_only_attention_learns_twelve():
    for reader in ("gru", "attention"):
        assert run(Params(reader=reader, n_pairs=1, train_steps=150, seeds=1)).fact("lowest_accuracy").measured > 0.9
    many = {r: run(Params(reader=r, n_pairs=12, train_steps=200, seeds=1)) for r in ("gru", "attention")}
    assert many["attention"].fact("lowest_accuracy").measured > 0.9
    assert many["gru"].fact("highest_accuracy").measured < 0.5
    assert all(f.agrees for result in many.values() for f in result.facts)


@pytest.mark.parametrize("wrong", [{"n_pairs": 0}, {"D": 4}, {"train_steps": 0}, {"seeds": 9}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
