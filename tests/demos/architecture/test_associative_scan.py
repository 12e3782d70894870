# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.associative_scan import Params, combine, loop, run, scan

F64 = torch.float64


@given(st.integers(1, 70), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_scan_equals_loop_for_any_length_and_any_sign(steps, width, seed):
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, steps, width, dtype=F64, generator=g)
    torch.testing.assert_close(scan(a, b)[0], loop(a, b))


@given(st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_combination_is_associative(numbers):
    a1, b1, a2, b2, a3, b3 = (torch.tensor(x, dtype=F64) for x in numbers)
    left = combine(*combine(a1, b1, a2, b2), a3, b3)
    right = combine(a1, b1, *combine(a2, b2, a3, b3))
    torch.testing.assert_close(left, right)


def test_order_matters():
    """The classic bug: combining the later map first."""
    assert combine(*map(torch.tensor, (2.0, 1.0, 3.0, 5.0))) == (torch.tensor(6.0), torch.tensor(8.0))
    assert combine(*map(torch.tensor, (3.0, 5.0, 2.0, 1.0))) == (torch.tensor(6.0), torch.tensor(11.0))


def test_scan_keeps_gradients():
    a, b = torch.rand(2, 9, 2, dtype=F64)
    theirs, ours = (torch.autograd.functional.jacobian(f, a) for f in (lambda a: loop(a, b), lambda a: scan(a, b)[0]))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("steps", "rounds"), [(2, 1), (3, 2), (1024, 10), (1025, 11)])
def test_rounds(steps, rounds):
    assert run(Params(seq_len=steps, D=1)).fact("rounds").measured == rounds


def test_tanh_breaks_it():
    result = run(Params(recurrence="tanh", seq_len=64, D=2))
    assert result.fact("mismatches").measured > 100
    assert all(f.agrees for f in result.facts)


@pytest.mark.parametrize("wrong", [{"seq_len": 1}, {"D": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
