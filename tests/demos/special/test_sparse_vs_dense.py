# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep import content
from llmprep.demos.special.sparse_vs_dense import Params, Weights, run, step_seconds, weights_of


def test_weights_add_up_to_the_model():
    always, experts = weights_of("mixtral-8x7b")
    assert always + experts == 46_702_792_704
    assert experts == 32 * 8 * 3 * 4096 * 14336
    assert weights_of("llama-2-70b") == (content.model("llama-2-70b")["params_total"], 0)


def test_one_token_waits_for_memory_and_many_for_compute():
    chip = {"flops": {"bf16": 1000.0}, "bandwidth": 10.0}  # ridge: 100 FLOP/B, so 100 tokens in BF16
    dense = Weights(50, 0)
    assert step_seconds(dense, chip, 1, 0, 0) == pytest.approx(2 * 50 / 10)
    assert step_seconds(dense, chip, 200, 0, 0) == pytest.approx(2 * 200 * 50 / 1000)
    sparse = Weights(0, 80)  # a quarter chosen: 400 tokens are needed where all experts are read
    assert step_seconds(sparse, chip, 400, 0.25, 1) == pytest.approx(2 * 80 / 10)
    assert step_seconds(sparse, chip, 800, 0.25, 1) == pytest.approx(2 * 800 * 20 / 1000)


def test_the_advantage_falls_and_comes_back():
    speed = {b: run(Params(batch=b)).fact("speedup").measured for b in (1, 4, 32, 128, 1024, 8192)}
    result = run(Params())
    assert speed[1] == pytest.approx(result.fact("compute_ratio").measured)
    assert speed[8192] == pytest.approx(result.fact("compute_ratio").measured)
    assert speed[1] > speed[4] > speed[32] > speed[128] < speed[1024] < speed[8192]
    assert speed[128] == pytest.approx(result.fact("size_ratio").measured, rel=0.001)


@pytest.mark.parametrize(
    "wrong", [{"sparse": "llama-2-70b"}, {"dense": "mixtral-8x7b"}, {"batch": 0}, {"hardware": "t4"}], ids=str
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
