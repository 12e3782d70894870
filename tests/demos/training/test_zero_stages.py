# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.calc.memory import RECIPES, state_bytes
from llmprep.demos.training.zero_stages import (
    LAYERS,
    STEPS,
    WIDTH,
    Params,
    Ring,
    final_weights,
    formula_bytes_per_param,
    kept_bytes,
    lay_out,
    run,
    train,
)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 7), per_rank=st.integers(1, 5), seed=st.integers(0, 99))
def test_ring_collectives(n, per_rank, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randint(-9, 9, (n * per_rank,), generator=generator) for _ in range(n)]
    total, ring = torch.stack(tensors).sum(0), Ring(n)

    shards = ring.reduce_scatter(tensors)
    assert torch.equal(torch.cat(shards), total)
    assert ring.sent == [(n - 1) * per_rank] * n

    for whole in ring.all_gather(shards):
        assert torch.equal(whole, total)
    assert ring.sent == [2 * (n - 1) * per_rank] * n

    for whole in Ring(n).all_reduce(tensors):
        assert torch.equal(whole, total)


@pytest.mark.parametrize("stage", range(4))
@pytest.mark.parametrize("n", [2, 8, 64])
def test_layout_keeps_what_figure_1_says(stage, n):
    ranks = lay_out([torch.zeros(WIDTH**2)] * LAYERS, stage, n, torch.bfloat16)
    total = LAYERS * WIDTH**2
    assert {kept_bytes(rank) for rank in ranks} == {total * formula_bytes_per_param(stage, n)}
    assert total * formula_bytes_per_param(stage, n) == state_bytes(total, RECIPES["mixed"], stage, n)


@pytest.mark.parametrize(("stage", "gb"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_figure_1_of_the_paper(stage, gb):
    assert 7.5 * formula_bytes_per_param(stage, 64) == pytest.approx(gb, abs=0.05)


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("gradient_dtype", [torch.bfloat16, torch.float32])
def test_sharding_does_not_change_the_weights(stage, gradient_dtype):
    plain = final_weights(train(0, 4, gradient_dtype, seed=1)[0], 0)
    sharded = final_weights(train(stage, 4, gradient_dtype, seed=1)[0], stage)
    assert len(sharded) == (1 if stage == 3 else 4), "one copy a rank, unless the weights are sharded"
    for weights in (*plain, *sharded):
        assert torch.equal(weights, plain[0])


@pytest.mark.parametrize("stage", [0, 3])
def test_training_is_torchs_own_adam_on_the_mean_gradient(stage):
    """The same network, batches and optimiser in FP32 on one device; BF16 rounding is what remains."""
    n = 4
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(WIDTH**2, generator=generator) / WIDTH**0.5 for _ in range(LAYERS)]
    layers = [w.view(WIDTH, WIDTH).clone().requires_grad_() for w in weights]
    optimizer = torch.optim.Adam(layers, lr=0.01)
    for _ in range(STEPS):
        x, y = torch.randn(2, n, 4, WIDTH, generator=generator).bfloat16().float()
        out = x.flatten(0, 1)
        for w in layers:
            out = torch.tanh(out @ w)
        optimizer.zero_grad()
        (0.5 * (out - y.flatten(0, 1)).square().sum() / (4 * n)).backward()
        optimizer.step()
    got = final_weights(train(stage, n, torch.bfloat16, seed=3)[0], stage)[0].float()
    start, expected = torch.cat(weights), torch.cat([w.detach().flatten() for w in layers])
    moved = expected - start
    assert torch.nn.functional.cosine_similarity(got - start, moved, dim=0) > 0.95
    assert (got - expected).abs().mean() < 0.2 * moved.abs().mean()


@pytest.mark.parametrize("stage", range(4))
def test_traffic(stage):
    result = run(Params(stage=stage, n_devices=4))
    assert result.fact("elements_sent_per_param").measured == (2.25 if stage == 3 else 1.5)
    assert result.fact("traffic_vs_ddp").measured == (1.5 if stage == 3 else 1)
    assert all(fact.agrees for fact in result.facts)


@pytest.mark.parametrize("bad", [{"n_devices": 3}, {"n_devices": 1}, {"params_billion": 0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
