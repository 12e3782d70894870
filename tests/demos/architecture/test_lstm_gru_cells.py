# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.lstm_gru_cells import (
    Params,
    gru_reset_before,
    gru_step,
    lstm_step,
    lstm_without_output_tanh,
    run,
    unroll,
)

F64 = torch.float64


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_unrolled_cells_equal_the_fused_layers_of_torch(x_width, hidden, steps, seed):
    """nn.LSTM and nn.GRU run another kernel than the cells the demo compares with."""
    torch.manual_seed(seed)
    x = torch.randn(2, steps, x_width, dtype=F64)
    for layer_class, cell_class, step in (
        (torch.nn.LSTM, torch.nn.LSTMCell, lstm_step),
        (torch.nn.GRU, torch.nn.GRUCell, gru_step),
    ):
        layer = layer_class(x_width, hidden, batch_first=True, dtype=F64)
        cell = cell_class(x_width, hidden, dtype=F64)
        cell.load_state_dict({name.removesuffix("_l0"): w for name, w in layer.state_dict().items()})
        torch.testing.assert_close(unroll(step, cell, x), layer(x)[0])


def forced(cell, **bias):
    """A cell whose gates ignore their input and stand at σ(bias)."""
    names = ["i", "f", "g", "o"] if isinstance(cell, torch.nn.LSTMCell) else ["r", "z", "n"]
    with torch.no_grad():
        for w in cell.parameters():
            w.zero_()
        for name, value in bias.items():
            at = names.index(name) * cell.hidden_size
            cell.bias_ih[at : at + cell.hidden_size] = value
    return cell


def test_open_forget_and_shut_input_gate_keep_the_cell_for_ever():
    cell = forced(torch.nn.LSTMCell(3, 4, dtype=F64), f=50.0, i=-50.0)
    h, c0 = torch.zeros(1, 4, dtype=F64), torch.randn(1, 4, dtype=F64)
    c = c0
    for _ in range(1000):
        h, c = lstm_step(cell, torch.randn(1, 3, dtype=F64), h, c)
    torch.testing.assert_close(c, c0)


def test_in_torch_the_update_gate_keeps():
    """Papers differ in whether z keeps or writes; with z near 1 torch's GRU keeps its state."""
    cell = forced(torch.nn.GRUCell(3, 4, dtype=F64), z=50.0, n=1.0)
    h = torch.randn(2, 4, dtype=F64)
    torch.testing.assert_close(gru_step(cell, torch.randn(2, 3, dtype=F64), h, h)[0], h)
    torch.testing.assert_close(cell(torch.randn(2, 3, dtype=F64), h), h)


def test_the_two_grus_agree_only_when_the_reset_gate_is_open():
    torch.manual_seed(0)
    cell = torch.nn.GRUCell(3, 4, dtype=F64)
    x, h = torch.randn(2, 3, dtype=F64), torch.randn(2, 4, dtype=F64)
    assert (gru_step(cell, x, h, h)[0] - gru_reset_before(cell, x, h, h)[0]).abs().max() > 1e-3
    with torch.no_grad():
        cell.bias_ih[:4] = 50.0  # r = 1
    torch.testing.assert_close(gru_step(cell, x, h, h)[0], gru_reset_before(cell, x, h, h)[0])


def test_outputs_of_an_lstm_stay_within_one_but_not_without_the_tanh():
    cell = forced(torch.nn.LSTMCell(1, 1, dtype=F64), f=50.0, i=50.0, g=50.0, o=50.0)  # adds 1 at every step
    x = torch.zeros(1, 10, 1, dtype=F64)
    assert unroll(lstm_step, cell, x).abs().max() <= 1
    assert unroll(lstm_without_output_tanh, cell, x)[0, -1].item() == pytest.approx(10)


@pytest.mark.parametrize(
    ("version", "weights"), [("lstm", 4 * 256 * 768), ("gru", 3 * 256 * 768)]
)  # hidden 256, input 512
def test_weights(version, weights):
    result = run(Params(version=version, input_width=512, hidden=256, steps=2, batch=1))
    assert result.fact("weights").measured == weights
    assert all(f.agrees for f in result.facts)


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"steps": 1}, {"batch": 0}, {"input_width": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
