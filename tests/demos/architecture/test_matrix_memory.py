# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.linear_attention import recurrent_form
from llmprep.demos.architecture.matrix_memory import Params, formula_noise, random_pairs, recall, run, write

F64 = torch.float64


@pytest.mark.parametrize("rule", ["add", "delta"])
def test_orthogonal_keys_are_recalled_exactly_up_to_one_per_dimension(rule):
    torch.manual_seed(0)
    keys = torch.linalg.qr(torch.randn(32, 32, dtype=F64)).Q
    values = torch.randn(32, 32, dtype=F64).sign()
    torch.testing.assert_close(recall(keys, values, rule), values)


def test_writing_is_the_state_of_linear_attention():
    torch.manual_seed(0)
    keys, values = random_pairs(20, 32)
    asked = torch.randn(32, dtype=F64)
    queries = torch.cat([torch.zeros(19, 32, dtype=F64), asked[None]])
    torch.testing.assert_close(asked @ write(keys, values, "add"), recurrent_form(queries, keys, values, 1.0)[0][-1])


def test_delta_rule_always_returns_the_newest_pair_and_replaces_an_old_value():
    torch.manual_seed(0)
    keys, values = random_pairs(40, 32)
    torch.testing.assert_close(recall(keys, values, "delta")[-1], values[-1])
    again = torch.cat([keys, keys[:1]]), torch.cat([values, -values[:1]])  # the first key gets another value
    torch.testing.assert_close(recall(*again, "delta")[0], -values[0])
    assert (recall(*again, "add")[0] + values[0]).abs().max() > 0.5  # a plain sum mixes both


@pytest.mark.parametrize(("n_pairs", "head_dim"), [(64, 64), (200, 128), (4, 32)])
def test_noise_of_a_plain_sum(n_pairs, head_dim):
    fact = run(Params(n_pairs=n_pairs, head_dim=head_dim, seed=3)).fact("additive_error")
    assert fact.agrees
    assert fact.predicted == formula_noise(n_pairs, head_dim)


def test_error_of_the_delta_rule_stays_bounded():
    errors = [run(Params(memory=m, n_pairs=400, head_dim=32)).fact("error_variance").measured for m in ("add", "delta")]
    assert errors[1] < 2.2 < 10 < errors[0]


@pytest.mark.parametrize("wrong", [{"n_pairs": 1}, {"head_dim": 8}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
