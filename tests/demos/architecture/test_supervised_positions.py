# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.causal_mask import START, TinyGPT
from llmprep.demos.architecture.supervised_positions import (
    IGNORED,
    MASK,
    VOCAB,
    Params,
    causal_example,
    formula_losses,
    inputs_read,
    masked_example,
    positions_with_gradient,
    run,
)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TinyGPT(VOCAB + 1, 20, d_model=16, n_heads=2, n_layers=1).double()


@pytest.mark.parametrize(("rate", "losses"), [(0.15, 77), (0.4, 205), (1.0, 512)])
def test_formula_for_a_text_of_bert(rate, losses):
    assert formula_losses(512, rate, "masked") == losses
    assert formula_losses(512, rate, "causal") == 512


@settings(max_examples=20, deadline=None)
@given(T=st.integers(2, 20), share=st.floats(0.05, 1))
def test_masked_example_hides_what_it_scores_and_nothing_else(T, share):
    text = torch.randint(1, VOCAB, (1, T), generator=torch.Generator().manual_seed(T))
    n = formula_losses(T, share, "masked")
    with torch.random.fork_rng(devices=[]):
        tokens, labels = masked_example(text, n)
    hidden = tokens == MASK
    assert hidden.sum() == n
    assert torch.equal(labels != IGNORED, hidden)
    assert torch.equal(tokens[~hidden], text[~hidden])
    assert torch.equal(labels[hidden], text[hidden])


def test_causal_example_is_shifted_by_one():
    tokens, labels = causal_example(torch.tensor([[5, 6, 7]]))
    assert tokens.tolist() == [[START, 5, 6]]
    assert labels.tolist() == [[5, 6, 7]]


def test_gradient_is_where_the_labels_are(model):
    text = torch.randint(1, VOCAB, (1, 20), generator=torch.Generator().manual_seed(1))
    labels = torch.full_like(text, IGNORED)
    labels[0, [3, 11]] = text[0, [3, 11]]
    assert positions_with_gradient(model, text, labels, causal=False).tolist() == [3, 11]


@pytest.mark.parametrize("position", [0, 7, 19])
def test_causal_prediction_reads_the_left_side_only(model, position):
    text = torch.randint(1, VOCAB, (1, 20), generator=torch.Generator().manual_seed(2))
    assert inputs_read(model, text, position, causal=True) == position + 1
    assert inputs_read(model, text, position, causal=False) == 20


@pytest.mark.parametrize(
    "p", [Params(seq_len=2), Params(objective="causal", seq_len=3, mask_rate=1), Params(seq_len=100, mask_rate=0.001)]
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"seq_len": 1}, {"mask_rate": 0.0}, {"mask_rate": 1.1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
