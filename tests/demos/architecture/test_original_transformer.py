# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.original_transformer import Params, Transformer, by_hand, count_built, run


@pytest.mark.parametrize(
    ("shape", "printed"),
    [
        ({}, 65),
        ({"n_layers": 2}, 36),
        ({"n_layers": 4}, 50),
        ({"n_layers": 8}, 80),
        ({"d_ff": 1024}, 53),
        ({"d_ff": 4096}, 90),
        ({"d_model": 1024, "n_heads": 16, "d_ff": 4096}, 213),
    ],
    ids=str,
)
def test_counts_are_those_of_table_3_within_7_percent(shape, printed):
    """The paper prints millions for a vocabulary that it gives as "about 37000"."""
    assert run(Params(**shape)).fact("params_million").measured == pytest.approx(printed, rel=0.07)


def test_depth_costs_what_table_3_says():
    """From N = 2 to N = 8 the paper's counts rise by 44 million, whatever the vocabulary is."""
    built = [run(Params(n_layers=n)).fact("params_million").measured for n in (2, 8)]
    assert built[1] - built[0] == pytest.approx(80 - 36, abs=0.5)


@settings(max_examples=15, deadline=None)
@given(V=st.integers(1, 50), L=st.integers(1, 3), D=st.integers(1, 8), ff=st.integers(1, 40), shared=st.booleans())
def test_by_hand_is_what_is_built(V, L, D, ff, shared):
    assert count_built(V, L, 2 * D, 2, ff, shared=shared).total() == by_hand(V, L, 2 * D, ff, 1 if shared else 3)


def test_torchs_own_model_differs_by_attention_biases_and_two_last_norms():
    """torch.nn.Transformer has no tables, a bias in each of the 4 projections, and a norm after each stack."""
    with torch.device("meta"):
        theirs = sum(w.numel() for w in torch.nn.Transformer(512, 8, 6, 6, 2048, batch_first=True).parameters())
    ours = run(Params()).fact("params_total").measured - 37000 * 512
    assert theirs == ours + 18 * 4 * 512 + 2 * 2 * 512


def test_the_model_runs_and_the_target_cannot_see_ahead():
    torch.manual_seed(0)
    model = Transformer(11, 2, 16, 2, 32, shared=True)
    source, target = torch.randint(11, (1, 5)), torch.randint(11, (1, 6))
    other = target.clone()
    other[0, 4] = (other[0, 4] + 1) % 11
    before, after = model(source, target), model(source, other)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_three_separate_tables_add_two():
    shared, separate = (run(Params(tables=t)).fact("params_total").measured for t in ("shared", "separate"))
    assert separate - shared == 2 * 37000 * 512


@pytest.mark.parametrize("wrong", [{"n_layers": 0}, {"d_model": 100}, {"vocab_size": 0}, {"n_layers": 100}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
