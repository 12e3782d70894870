# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.norm_warmup import Params, learning_rate, run, train


@pytest.mark.parametrize(
    ("step", "warmup", "rate"), [(0, 0, 0.01), (0, 4, 0.0025), (3, 4, 0.01), (99, 4, 0.01), (0, 1, 0.01), (1, 4, 0.005)]
)
def test_warmup_is_linear_then_constant(step, warmup, rate):
    assert learning_rate(step, 0.01, warmup) == pytest.approx(rate)


def test_first_loss_does_not_depend_on_the_warmup_and_the_second_does():
    with torch.random.fork_rng(devices=[]):
        without, with_warmup = (train("pre", 0.01, w, 2, seed=0) for w in (0, 2))
    assert without[0] == with_warmup[0]
    assert without[1] != with_warmup[1]


def test_run_agrees_for_odd_settings():
    assert all(f.agrees for f in run(Params("pre", warmup_steps=20, steps=20, seed=3)).facts)


@pytest.mark.parametrize("wrong", [{"steps": 5}, {"warmup_steps": 200}, {"peak_lr": 0.0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
