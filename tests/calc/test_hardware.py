import pytest

from llmprep import content
from llmprep.calc import hardware
from llmprep.errors import UserError

ENTRIES = content.load_yaml("hardware.yaml")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e["name"])
def test_every_device_is_complete_and_plausible(entry):
    gpu = hardware.find(entry["name"])
    assert gpu.source
    assert 1e10 <= gpu.memory <= 1e12
    assert 5e10 <= gpu.bandwidth <= 1e13
    assert set(gpu.flops) <= {"fp32", "bf16", "fp16", "fp8", "int8", "fp4"}
    assert 5 <= max(gpu.flops.get(k, 0) for k in ("bf16", "fp16", "fp32")) / gpu.bandwidth <= 450  # the ridge
    assert gpu.link is None or 1e10 <= gpu.link <= gpu.bandwidth


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e["name"])
def test_halving_the_bits_at_most_doubles_a_dense_peak(entry):
    """A sparse figure among dense ones would stand out: twice what the bits explain. FP4 may be four times FP8."""
    flops = entry["flops"]
    if "fp8" in flops and "bf16" in flops:
        assert flops["fp8"] == pytest.approx(2 * flops["bf16"], rel=0.02)
    if "int8" in flops:
        assert flops["int8"] <= 2.05 * flops.get("bf16", flops.get("fp16"))
    if "fp4" in flops:
        assert flops["fp4"] <= 4.05 * flops["fp8"]


def test_names_are_unique():
    assert len({e["name"] for e in ENTRIES}) == len(ENTRIES) >= 20


@pytest.mark.parametrize(
    ("name", "ridge"), [("a100-80gb", 153.0), ("h100-sxm", 295.3), ("h200-sxm", 206.1), ("t4", 203.1)]
)
def test_ridges(name, ridge):
    gpu = hardware.find(name)
    assert gpu.peak(["bf16"])[1] / gpu.bandwidth == pytest.approx(ridge, abs=0.1)


def test_usable_memory():
    gpu = hardware.find("l4")
    assert gpu.usable(0.9, 1e9) == pytest.approx(20.6e9)
    assert gpu.usable(0.01, 1e9) == 0


def test_peaks():
    assert hardware.find("a100-80gb").peak(["fp8", "int8"]) == ("int8", 6.24e14)
    assert hardware.find("a100-80gb").peak(["fp8"]) == ("bf16", 3.12e14)
    assert hardware.find("cpu-laptop-ddr5").peak(["bf16"])[0] == "fp32"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("h10", r"--gpu h10: unknown hardware; did you mean 'h100-sxm'\? \(known: a100-80gb, .*t4"),
        ("rtx4090", r"--gpu rtx4090: unknown hardware; did you mean 'rtx-4090'"),
        ("abacus", r"--gpu abacus: unknown hardware \(known"),
    ],
)
def test_unknown_hardware(name, message):
    with pytest.raises(UserError, match=message):
        hardware.find(name)
