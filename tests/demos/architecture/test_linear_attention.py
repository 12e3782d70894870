# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.associative_scan import scan
from llmprep.demos.architecture.linear_attention import Params, decay_mask, parallel_form, recurrent_form, run

F64 = torch.float64


@given(st.integers(1, 40), st.integers(1, 6), st.floats(0.5, 1), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_both_forms_agree_and_so_does_an_associative_scan_over_matrices(steps, width, gamma, seed):
    q, k, v = torch.randn(3, steps, width, dtype=F64, generator=torch.Generator().manual_seed(seed))
    recurrent, _ = recurrent_form(q, k, v, gamma)
    torch.testing.assert_close(parallel_form(q, k, v, gamma), recurrent)
    written = k[:, :, None] * v[:, None]  # (T, D, D)
    states, _, _ = scan(torch.full_like(written, gamma), written)
    torch.testing.assert_close((q[:, None] @ states)[:, 0], recurrent)


def test_mask_is_causal_and_decays():
    assert decay_mask(3, 0.5).tolist() == [[1, 0, 0], [0.5, 1, 0], [0.25, 0.5, 1]]


def test_a_later_token_changes_no_earlier_output():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 10, 4, dtype=F64)
    before = parallel_form(q, k, v, 0.9)
    k[7:] += 1
    assert torch.equal(parallel_form(q, k, v, 0.9)[:7], before[:7])


@pytest.mark.parametrize("settings_", [{"gamma": 1.0, "seq_len": 2, "head_dim": 1}, {"attention": "softmax"}], ids=str)
def test_other_settings_agree(settings_):
    assert all(f.agrees for f in run(Params(**settings_)).facts)


@pytest.mark.parametrize("wrong", [{"gamma": 0.1}, {"gamma": 1.1}, {"seq_len": 1}, {"head_dim": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
