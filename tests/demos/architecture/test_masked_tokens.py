# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.masked_tokens import (
    FIRST_WORD,
    IGNORED,
    MASK,
    PAD,
    Params,
    formula_shares,
    mask_tokens,
    recount,
    run,
)


def test_rule_of_bert():
    assert formula_shares(0.15, 0.8, 0.5) == pytest.approx((0.12, 0.015, 0.015))


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0, 1), mask=st.floats(0, 1), rest=st.floats(0, 1), seed=st.integers(0, 99))
def test_only_selected_words_change_and_their_labels_are_the_originals(rate, mask, rest, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokens = torch.randint(FIRST_WORD, 50, (4, 30))
        tokens[:, 0] = PAD
        before = tokens.clone()
        inputs, labels = mask_tokens(tokens, 50, rate, mask, rest)
    assert torch.equal(tokens, before)
    scored = labels != IGNORED
    assert torch.equal(inputs[~scored], tokens[~scored])
    assert torch.equal(labels[scored], tokens[scored])
    assert not scored[:, 0].any()


@pytest.mark.parametrize(
    ("mask", "rest", "expected"), [(1.0, 0.5, "mask"), (0.0, 1.0, "random"), (0.0, 0.0, "kept")], ids=str
)
def test_extreme_rules(mask, rest, expected):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokens = torch.randint(FIRST_WORD, 100_000, (10, 100))
        counts = recount(tokens, *mask_tokens(tokens, 100_000, 0.5, mask, rest))
    assert counts[expected] == counts["selected"] > 0


def test_recount_by_hand():
    tokens = torch.tensor([[5, 6, 7, 8, 9]])
    inputs = torch.tensor([[5, MASK, 3, 8, 4]])
    labels = torch.tensor([[IGNORED, 6, 7, 8, IGNORED]])
    assert recount(tokens, inputs, labels) == {
        "selected": 3, "mask": 1, "random": 1, "kept": 1, "wrong_labels": 0, "changed_without_label": 1,
    }  # fmt: skip


def test_a_second_draw_of_a_tenth_is_seen():
    result = run(Params(random_of_rest=0.1))
    assert result.fact("random_of_selected_share").measured == pytest.approx(0.02, abs=0.005)
    assert result.fact("kept_of_selected_share").measured == pytest.approx(0.18, abs=0.01)


@pytest.mark.parametrize(
    "p", [Params(vocab=100, n_texts=100), Params(mask_rate=1.0, seed=4), Params(mask_of_selected=0)]
)
def test_run_agrees_for_odd_settings(p):
    assert [f for f in run(p).facts if not f.agrees] == []


@pytest.mark.parametrize("wrong", [{"mask_rate": 0.0}, {"random_of_rest": 1.5}, {"vocab": 5}, {"n_texts": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
