# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from llmprep.demos.architecture.transfer_probe import Params, World, mlp, pretrain_masked, probe, run


def test_every_observed_number_mixes_all_factors():
    torch.manual_seed(0)
    x, factors = World(n_values=3, noise=0.0).draw(500)
    for f in range(factors.shape[1]):
        means = torch.stack([x[factors[:, f] == value].mean(dim=0) for value in range(3)])
        assert (means.std(dim=0) > 0.02).float().mean() > 0.95


def test_probe_reads_what_is_linearly_there_and_nothing_else():
    torch.manual_seed(0)
    y, test_y = torch.randint(3, (200,)), torch.randint(3, (1000,))
    centres = torch.randn(3, 5) * 4
    h, test_h = centres[y] + torch.randn(200, 5), centres[test_y] + torch.randn(1000, 5)
    assert probe(h, y, test_h, test_y, 3) > 0.95
    assert probe(torch.randn(200, 5), y, torch.randn(1000, 5), test_y, 3) < 0.45


def test_masked_pretraining_lowers_the_reconstruction_error_without_labels():
    torch.manual_seed(0)
    x, _ = World(n_values=3, noise=0.5).draw(1000)
    encoder = mlp(48, 128, 8)
    before = [p.clone() for p in encoder.parameters()]
    pretrain_masked(encoder, x)
    assert all(not torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))


def test_mlp_ends_in_a_linear_layer():
    assert [type(layer) for layer in mlp(4, 3, 2)] == [nn.Linear, nn.ReLU, nn.Linear]


def test_only_self_supervision_keeps_all_factors():
    result = run(Params(seed=1))
    assert all(f.agrees for f in result.facts)
    rows = {row[0]: row[1:5] for row in result.table.rows}
    assert min(rows["masked"]) > 90
    assert rows["label"][0] > 95
    assert max(rows["label"][1:]) < 75
    assert min(rows["masked"]) > max(rows["none"])


@pytest.mark.parametrize("bad", [{"n_values": 1}, {"noise": -1.0}, {"n_labelled": 5}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
