# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep import content
from llmprep.demos.inference.w4a16_or_w8a8 import (
    Params,
    counted_flops,
    crossover,
    formula_crossover,
    layer_seconds,
    machine,
    moved_bytes,
    run,
)
from llmprep.errors import UserError


def test_bytes_by_hand():
    """A layer of 256 × 128 and 4 tokens: activations in and out, codes, scales."""
    assert moved_bytes("W16A16", 4, 256, 128) == 2 * (4 * 256 + 4 * 128 + 256 * 128)
    assert moved_bytes("W4A16", 4, 256, 128) == 2 * (4 * 256 + 4 * 128) + 256 * 128 // 2 + 2 * 128 * 2
    assert moved_bytes("W8A8", 4, 256, 128) == 4 * 256 + 2 * 4 * 128 + 256 * 128 + 4 * (4 + 128)


def test_flops_are_two_per_weight_and_token():
    assert counted_flops(3, 256, 128) == 2 * 3 * 256 * 128


def test_whiteboard_number_of_the_a100():
    gpu = content.hardware("a100-80gb")
    without_activations = formula_crossover(gpu["flops"]["bf16"], gpu["bandwidth"], 2**40, 2**40)
    assert without_activations == pytest.approx(76.5, abs=0.1)


@pytest.mark.parametrize("hardware", ["a100-80gb", "h100-sxm", "rtx-4090", "l4"])
@pytest.mark.parametrize("model", ["llama-3-8b", "llama-3-70b"])
def test_the_border_is_where_the_order_changes(hardware, model):
    p = Params(hardware=hardware, model=model)
    n = crossover(p)
    assert layer_seconds(p, "W8A8", n) < layer_seconds(p, "W4A16", n)
    assert layer_seconds(p, "W8A8", n - 1) >= layer_seconds(p, "W4A16", n - 1)
    assert all(f.agrees for f in run(p).facts)


def test_limits_of_both():
    few = {f.name: f.measured for f in run(Params(n_tokens=1)).facts}
    many = {f.name: f.measured for f in run(Params(n_tokens=8192)).facts}
    assert few["w4a16_speedup"] == pytest.approx(16 / 4.125, rel=0.01)
    assert few["w8a8_speedup"] == pytest.approx(2, rel=0.01)
    assert many["w4a16_speedup"] == pytest.approx(1)
    assert many["w8a8_speedup"] == pytest.approx(2)


def test_own_peaks_replace_those_of_the_hardware():
    assert machine(Params(peak_tflops=100.0, bandwidth_tbs=0.5)) == (1e14, 2e14, 5e11)
    assert machine(Params(peak_tflops=500.0))[2] == content.hardware("a100-80gb")["bandwidth"]


@pytest.mark.parametrize(
    "wrong",
    [{"hardware": "v100-32gb"}, {"peak_tflops": -1.0}, {"bandwidth_tbs": 0.001}, {"n_tokens": 0}, {"model": "gpt2"}],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="unknown hardware"):
        Params(hardware="abacus")
