# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.adaptive_softmax import Params, formula_flops, run, two_step_log_prob, zipf

SMALL = {"vocab_size": 500, "d": 32, "cutoff_1": 50, "cutoff_2": 200, "n_targets": 64}


def test_zipf_by_hand():
    assert zipf(3, 1.0).tolist() == pytest.approx([6 / 11, 3 / 11, 2 / 11])
    assert zipf(4, 0.0).tolist() == [0.25] * 4


def test_two_steps_give_the_probabilities_of_torch():
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        layer = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 40, [10, 20])
        h = torch.randn(5, 16)
        expected = layer.log_prob(h)
        ours = torch.stack([two_step_log_prob(layer, h, word) for word in range(40)], dim=1)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(ours.exp().sum(1), torch.ones(5))


def test_cost_by_hand():
    """Head 10 + 1 entries of width 8; the one cluster of 10 words, width 2, is entered by half of the targets."""
    p = torch.tensor([0.05] * 20, dtype=torch.float64)
    assert formula_flops(8, [10], 20, p, 4.0) == pytest.approx(2 * 8 * 11 + 0.5 * 2 * (8 * 2 + 2 * 10))


def test_known_saving_of_the_zipf_model():
    p = zipf(50_257, 1.0)
    assert 2 * 768 * 50_257 / formula_flops(768, [2000, 10_000], 50_257, p, 4.0) == pytest.approx(18.8, abs=0.05)


def test_narrow_clusters_save_even_without_zipf():
    even = zipf(50_257, 0.0)
    full = 2 * 768 * 50_257
    assert full / formula_flops(768, [2000, 10_000], 50_257, even, 4.0) > 10
    assert full / formula_flops(768, [2000, 10_000], 50_257, even, 1.0) < 1.4


@pytest.mark.parametrize("setting", [{}, {"exponent": 0.0}, {"div_value": 1.0}, {"cutoff_1": 2, "cutoff_2": 3}])
def test_facts_agree(setting):
    assert all(fact.agrees for fact in run(Params(**{**SMALL, **setting})).facts)


@pytest.mark.parametrize(
    "bad", [{"cutoff_1": 1}, {"cutoff_1": 20_000}, {"div_value": 0.5}, {"exponent": 3.0}, {"d": 8}]
)
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
