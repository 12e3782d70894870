# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.dead_units import ACTIVATIONS, FF, Params, run, train_after_a_push


@pytest.mark.parametrize(("name", "can_move"), [("relu", False), ("leaky_relu", True), ("gelu", True), ("silu", True)])
def test_only_a_zero_slope_is_final(name, can_move):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        silent, moved, awake, _ = train_after_a_push(ACTIVATIONS[name], push=7, steps=10)
    assert silent.tolist() == [True] * (FF // 2) + [False] * (FF // 2)
    assert moved[silent].all() == can_move
    assert moved[~silent].all()
    if not can_move:
        assert not (silent & awake).any()


def test_without_a_push_no_unit_is_silent():
    assert run(Params(push=0, steps=10)).fact("silent_at_first").measured == 0


@pytest.mark.parametrize("p", [Params("gelu", push=10, steps=10), Params("relu", push=3, steps=10, seed=2)], ids=str)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"push": -1}, {"steps": 5}, {"push": 50}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
