# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.position_shift import ABSOLUTE, SCHEMES, Params, Scores, rows_never_trained, run


@pytest.fixture
def setting():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Scores(16, 64, clip=4), torch.randn(10, 16, dtype=torch.float64)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_relative_schemes_are_constant_along_diagonals_for_equal_tokens(setting, scheme):
    scores, x = setting
    same = scores(scheme, x[:1].expand(10, -1), torch.arange(10))
    toeplitz = all(same.diagonal(d).std(correction=0) < 1e-9 for d in range(-8, 1))  # keys up to the query
    assert toeplitz == (scheme not in ABSOLUTE)


def test_every_scheme_sees_the_order(setting):
    scores, x = setting
    for scheme in SCHEMES:
        here = scores(scheme, x, torch.arange(10))
        swapped = scores(scheme, x, torch.tensor([1, 0, *range(2, 10)]))
        assert not torch.allclose(here, swapped), scheme


def test_shaw_clips_distances(setting):
    scores, x = setting
    scores_of_one = scores("shaw", x[:1].expand(10, -1), torch.arange(10))[9]
    assert torch.allclose(scores_of_one[:6], scores_of_one[0])  # 9 … 4 tokens back: all treated as 4
    assert not torch.isclose(scores_of_one[5], scores_of_one[6])


def test_a_learned_table_has_an_end(setting):
    scores, x = setting
    with pytest.raises(IndexError):
        scores("learned", x, torch.arange(60, 70))
    scores("rope", x, torch.arange(60, 70))


@pytest.mark.parametrize(("table_len", "trained_len"), [(10, 10), (100, 1), (1024, 256)])
def test_rows_beyond_the_longest_text_get_no_gradient(table_len, trained_len):
    assert rows_never_trained(table_len, trained_len) == table_len - trained_len


@pytest.mark.parametrize("scheme", SCHEMES)
def test_run_agrees_for_every_scheme(scheme):
    assert all(f.agrees for f in run(Params(scheme=scheme, shift=1, seq_len=2, clip=1, seed=4)).facts)


@pytest.mark.parametrize(
    "wrong", [{"shift": 0}, {"shift": 1020}, {"trained_len": 2000}, {"seq_len": 1}, {"clip": 0}], ids=str
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
