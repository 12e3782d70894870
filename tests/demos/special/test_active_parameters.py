# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep import content
from llmprep.demos.special.active_parameters import Params, SwiGLU, count, count_model, formula_active, run

MODELS = [m["name"] for m in content.load_json("models.json")["models"] if m["model_type"] in ("mixtral", "qwen3_moe")]


@pytest.mark.parametrize("model", [*MODELS, "deepseek-v3", "kimi-k2"])
def test_counts_are_those_of_transformers(model):
    entry = content.model(model)
    assert count_model(model) == (entry["params_total"], entry["active"]["total_incl_embeddings"])


def test_mixtral_by_hand():
    """2Vd + d + L·(2dD(H + H_kv) + n·3·d·ff + N·d + 2d)."""
    for n, expected in ((8, 46_702_792_704), (2, 12_879_925_248)):
        layer = 2 * 4096 * 128 * (32 + 8) + n * 3 * 4096 * 14336 + 8 * 4096 + 2 * 4096
        assert 2 * 32000 * 4096 + 4096 + 32 * layer == expected == count_model("mixtral-8x7b")[n == 2]


def test_only_modules_that_were_called_are_active():
    pair = torch.nn.ModuleDict({"used": SwiGLU(4, 6), "asleep": SwiGLU(4, 6)})
    pair.forward = pair["used"].__call__
    assert count(pair, torch.ones(1, 4)) == (144, 72)


def test_with_all_experts_everything_is_active():
    total, active = count_model("qwen3-30b-a3b", 128)
    assert total == active == formula_active(total, content.model("qwen3-30b-a3b")["config"], 128)


def test_eight_whole_models_would_be_more():
    assert run(Params(copied="model")).fact("total_b").measured == pytest.approx(57.94, abs=0.01)


@pytest.mark.parametrize("wrong", [{"model": "llama-3-8b"}, {"top_k": 9}, {"top_k": -1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
