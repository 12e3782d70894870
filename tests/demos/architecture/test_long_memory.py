# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.long_memory import N_SYMBOLS, Params, Reader, first_over_last, first_token_task, run


def test_only_the_first_token_tells_the_class():
    x, first = first_token_task(50, 7)
    assert x.shape == (50, 8, 8)
    assert (x.sum(dim=-1) == 1).all()  # one-hot
    assert torch.equal(x[:, 0].argmax(dim=-1), first)
    assert not x[:, 1:, :N_SYMBOLS].any()


def test_bias_goes_to_the_gate_that_keeps():
    """With everything else zero, the state decays by σ(bias) at every step: set the state, and look."""
    for cell in ("lstm", "gru"):
        model = Reader(cell, 4, keep_bias=1.5)
        bias = model.layer.bias_ih_l0.detach().clone()
        with torch.no_grad():
            for w in model.layer.parameters():
                w.zero_()
            model.layer.bias_ih_l0[4:8] = bias[4:8]
        start = torch.ones(1, 1, 4)
        if cell == "lstm":
            _, (_, kept) = model.layer(torch.zeros(3, 1, 8), (torch.zeros(1, 1, 4), start))
        else:
            _, kept = model.layer(torch.zeros(3, 1, 8), start)
        assert kept.mean().item() == pytest.approx(torch.sigmoid(torch.tensor(1.5)).item() ** 3)


def test_first_token_counts_more_with_an_open_gate():
    for cell in ("lstm", "gru"):
        ratios = []
        for bias in (0.0, 5.0):
            torch.manual_seed(0)
            ratios.append(first_over_last(Reader(cell, 16, bias), 20))
        assert ratios[0] < 1e-3 < ratios[1]


def test_an_open_gate_learns_and_a_half_open_one_does_not():
    """Another seed count than in the claims, and a shorter gap."""
    learnt = run(Params(seeds=1, gap=20, train_steps=150))
    assert learnt.fact("lowest_accuracy").measured > 0.7
    assert all(f.agrees for f in learnt.facts)
    assert run(Params(seeds=1, gap=40, train_steps=100, keep_bias=0.0)).fact("highest_accuracy").measured < 0.4


@pytest.mark.parametrize("wrong", [{"gap": 0}, {"keep_bias": 99}, {"train_steps": 0}, {"seeds": 9}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
