# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.training.lora_savings import (
    Params,
    formula_flop_saving,
    formula_memory_saving,
    model_shapes,
    run,
)


@pytest.mark.parametrize(
    ("model", "targets", "rank", "trainable"),
    [
        pytest.param("gpt3-175b", "qv", 4, 18_874_368, id="GPT-3, the paper's smallest budget"),
        pytest.param("llama-2-7b", "qv", 8, 4_194_304, id="Llama-2-7B"),
        pytest.param("llama-3-70b", "all-linear", 16, 207_093_760, id="Llama-3-70B"),
        pytest.param("llama-3-70b", "all-linear", 64, 828_375_040, id="Llama-3-70B, rank 64"),
        pytest.param("llama-3-70b", "qv", 8, 16_384_000, id="GQA makes v smaller than q"),
    ],
)
def test_trainable_parameters(model, targets, rank, trainable):
    result = run(Params(model=model, targets=targets, rank=rank, d_model=64))
    assert result.fact("trainable_params").measured == trainable
    assert result.fact("adapter_mb").measured == pytest.approx(trainable * 2 / 1e6)


def test_shapes_add_up_to_the_model():
    shapes, n_layers, total = model_shapes("llama-3-8b")
    blocks = n_layers * sum(d * k for d, k in shapes.values())
    embeddings, norms = 2 * 128256 * 4096, (2 * n_layers + 1) * 4096
    assert blocks + embeddings + norms == total


@pytest.mark.parametrize("model", ["mixtral-8x7b", "deepseek-v3", "mamba-130m", "t5-base", "pythia-1.4b"])
def test_other_families_are_refused(model):
    with pytest.raises(ValueError, match="must be a dense decoder"):
        Params(model=model)


def test_savings_stay_below_their_limits():
    for rank in (1, 8, 64):
        assert formula_memory_saving(4096, 4096, rank) < 8
        assert formula_flop_saving(4096, 4096, rank) < 1.5
    assert formula_memory_saving(10**6, 10**6, 1) == pytest.approx(8, rel=1e-3)
    assert formula_flop_saving(10**6, 10**6, 1) == pytest.approx(1.5, rel=1e-3)


@pytest.mark.parametrize(("rank", "d_model"), [(1, 32), (16, 64), (32, 32)])
def test_measured_bytes_and_flops_follow_the_formulas(rank, d_model):
    result = run(Params(rank=rank, d_model=d_model))
    assert all(fact.agrees for fact in result.facts)


def test_a_rank_that_is_too_large_saves_nothing():
    result = run(Params(rank=64, d_model=64))  # A and B together are twice the matrix
    assert result.fact("matrix_reduction").measured == 0.5
    assert result.fact("memory_saving").measured < 1


@pytest.mark.parametrize("setting", [{"rank": 0}, {"rank": 257}, {"d_model": 8}, {"d_model": 5000}], ids=str)
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
