# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.causal_counter import Params, read_positions, run, start_share


@settings(max_examples=30, deadline=None)
@given(T=st.integers(1, 300))
def test_output_is_one_over_the_position_with_the_mask_only(T):
    torch.testing.assert_close(start_share(T, causal=True), 1 / torch.arange(1, T + 1, dtype=torch.float64))
    torch.testing.assert_close(start_share(T, causal=False), torch.full((T,), 1 / T, dtype=torch.float64))


def test_reads_positions_in_bfloat16_only_at_the_beginning():
    """1/t has 8 bits there, so the trick is one of principle; trained models need not count this way."""
    outputs = start_share(1024, causal=True).bfloat16().double()
    right = read_positions(outputs) == torch.arange(1, 1025)
    assert right[:64].all()
    assert not right.all()


@pytest.mark.parametrize("p", [Params(seq_len=2), Params(causal=False, seq_len=3), Params(seq_len=777)], ids=str)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("seq_len", [0, 1, 5000])
def test_nonsense_is_refused(seq_len):
    with pytest.raises(ValueError, match="must"):
        Params(seq_len=seq_len)
