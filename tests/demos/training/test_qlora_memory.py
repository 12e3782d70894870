# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.training.qlora_memory import Layer, Params, adam_step, formula_gb, run


def bytes_of(recipe, *, master_weights=False):
    layer = Layer(torch.randn(128, 128, generator=torch.Generator().manual_seed(0)), recipe, 8, double_quant=True)
    alive = adam_step(layer, torch.ones(2, 128, dtype=torch.bfloat16), master_weights=master_weights)
    return sum(t.nbytes for t in alive), sum(t.nbytes for t in layer.frozen())


def test_bytes_of_one_layer():
    n, adapter = 128 * 128, 8 * (128 + 128)
    assert bytes_of("full") == (12 * n, 0)
    assert bytes_of("full", master_weights=True) == (16 * n, 0)
    assert bytes_of("lora") == (12 * adapter, 2 * n)
    trained, frozen = bytes_of("qlora")
    assert trained == 12 * adapter
    assert frozen == n // 2 + n // 64 + 4 * n // (64 * 256) + 4  # codes, scale codes, FP32 per 256 scales, the mean


def test_780_gb_is_12_bytes_for_each_of_65_billion():
    assert formula_gb("full", 65 * 10**9, 0, 0, 12, 4.0) == 780
    assert run(Params(recipe="full")).fact("total_gb").measured == pytest.approx(783.4, abs=0.1)
    assert run(Params(recipe="full", master_weights=True)).fact("total_gb").measured == pytest.approx(1044.6, abs=0.1)


def test_65b_fits_48_gb_with_qlora_only():
    left = {r: run(Params(recipe=r)).fact("left_for_activations_gb").measured for r in ("full", "lora", "qlora")}
    assert left["full"] < 0
    assert left["lora"] < 0
    assert left["qlora"] > 3


def test_embeddings_stay_in_16_bits():
    n_embedding = 2 * 32000 * 8192
    result = run(Params(rank=1, targets="qv"))
    without = (65_285_660_672 - n_embedding) * 4.127 / 8 / 1e9
    assert result.fact("frozen_gb").measured == pytest.approx(without + 2 * n_embedding / 1e9, rel=1e-3)


@pytest.mark.parametrize("setting", [{"rank": 0}, {"rank": 129}, {"d_layer": 100}, {"model": "mixtral-8x7b"}], ids=str)
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
