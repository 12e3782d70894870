# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.training.lora_rank import Params, ideal_update, run, tail_energy, trained_residual


def best_of_rank(delta, rank):
    u, s, vh = torch.linalg.svd(delta)
    return u[:, :rank] @ torch.diag(s[:rank]) @ vh[:rank]


def test_tail_energy_is_the_error_of_the_truncated_svd():
    torch.manual_seed(0)
    delta, x = torch.randn(8, 8), torch.eye(8)
    tail = tail_energy(delta, x)
    for rank in range(9):
        error = (delta - best_of_rank(delta, rank)).square().sum() / delta.square().sum()
        assert tail[rank] == pytest.approx(error.item(), abs=1e-6)


def test_whitened_data_is_a_special_case():
    torch.manual_seed(0)
    delta = torch.randn(6, 6)
    q, _ = torch.linalg.qr(torch.randn(20, 6))
    assert tail_energy(delta, q) == pytest.approx(tail_energy(delta, torch.eye(6)), abs=1e-6)


def test_no_random_factorisation_beats_the_bound():
    torch.manual_seed(0)
    delta, x = torch.randn(8, 8), torch.randn(32, 8)
    target = x @ delta.T
    bound = tail_energy(delta, x)[3]
    for _ in range(200):
        guess = torch.randn(8, 3) @ torch.randn(3, 8) / 3
        assert (x @ guess.T - target).square().sum() / target.square().sum() > bound


def test_training_reaches_the_bound():
    torch.manual_seed(1)
    delta, x = torch.randn(12, 12), torch.randn(48, 12)
    assert trained_residual(delta, x, rank=4, steps=400) == pytest.approx(tail_energy(delta, x)[4], rel=0.03)


def test_a_task_of_rank_r_is_learned_from_rank_r_on():
    left = {r: run(Params(rank=r, task_rank=3, d_model=16, n_samples=64)).fact("residual").measured for r in (2, 3, 5)}
    assert left[2] > 0.05
    assert left[3] < 1e-3
    assert left[5] < 1e-3


def test_rank_of_the_ideal_update():
    torch.manual_seed(0)
    ranks = [
        torch.linalg.matrix_rank(ideal_update(kind, 16, 3).double(), rtol=1e-4) for kind in ("low-rank", "full-rank")
    ]
    assert ranks == [3, 16]


@pytest.mark.parametrize(
    "setting",
    [{"rank": 0}, {"rank": 33}, {"task_rank": 0}, {"d_model": 128}, {"n_samples": 8}, {"steps": 10}],
    ids=str,
)
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
