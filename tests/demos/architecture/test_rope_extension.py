# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.length_generalisation import Decoder
from llmprep.demos.architecture.rope_extension import BASE, HEAD_DIM, Params, rescaled, run, with_frequencies


def test_the_tiny_head_has_one_fast_pair_and_three_that_never_turn():
    turns = 32 * rescaled("none", 32) / (2 * math.pi)
    assert (turns > 4).tolist() == [True, False, False, False]
    assert (turns < 1).tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("method", "slowed"), [("none", [1, 1, 1, 1]), ("linear", [4, 4, 4, 4]), ("yarn", [1, 4, 4, 4])], ids=str
)
@pytest.mark.parametrize("trained_len", [26, 32, 40])
def test_which_pairs_are_slowed(method, slowed, trained_len):
    ratio = rescaled("none", trained_len) / rescaled(method, trained_len)
    torch.testing.assert_close(ratio, torch.tensor(slowed, dtype=torch.float64))


def test_other_frequencies_leave_the_original_alone():
    with torch.random.fork_rng(devices=[]):
        model = Decoder("rope", 8)
    other = with_frequencies(model, rescaled("linear", 32))
    assert torch.equal(model.theta, BASE ** (-torch.arange(0, HEAD_DIM, 2).double() / HEAD_DIM))
    assert torch.equal(other.qkv.weight, model.qkv.weight)
    assert other.qkv.weight is not model.qkv.weight


def test_each_method_fails_where_its_angles_say():
    result = run(Params(method="linear", n_seeds=1, seed=5))
    at_once = {row[0]: row[1:] for row in result.table.rows}
    assert at_once["none"][0] < 0.2 < 1 < at_once["none"][1]  # good where trained, lost beyond
    assert min(at_once["linear"]) > 0.8  # squeezed neighbours: lost everywhere
    assert at_once["ntk"][0] < 0.2 < 0.8 < at_once["ntk"][1]  # overshoots
    assert max(at_once["yarn"]) < 0.9
    assert result.fact("beyond_tuned").measured < 0.6 * at_once["linear"][1]
    assert all(f.agrees for f in result.facts)


@pytest.mark.parametrize("wrong", [{"trained_len": 16}, {"steps": 10}, {"tuning_steps": 0}, {"n_seeds": 4}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
