# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.key_outliers import (
    Params,
    keys_with_outliers,
    output_error,
    relative_error,
    run,
    through_cache,
)


def value(result, name):
    return result.fact(name).measured


def test_outliers_sit_in_the_same_channels_of_every_token():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stds = keys_with_outliers(4096, 16, 3, 10.0).std(dim=0)
    torch.testing.assert_close(stds, torch.tensor([10.0] * 3 + [1.0] * 13), rtol=0.1, atol=0)


@pytest.mark.parametrize("axis", ["channel", "token"])
def test_rounding_is_within_half_a_step_of_the_group_that_shares_it(axis):
    """Done again by hand, group by group: with the groups along the wrong axis this fails."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        x = keys_with_outliers(256, 128, 2, 20.0)
    back, _ = through_cache(x, 4, axis, 128)
    groups = x.T.unflatten(1, (2, 128)) if axis == "channel" else x.unflatten(1, (1, 128))
    step = groups.abs().amax(-1, keepdim=True) / 7
    off = ((back.T.unflatten(1, (2, 128)) if axis == "channel" else back.unflatten(1, (1, 128))) - groups).abs()
    assert (off <= step / 2 + 1e-5).all()


def test_both_axes_store_as_many_scales():
    x = torch.ones(256, 128)
    assert through_cache(x, 4, "channel", 128)[1].numel() == through_cache(x, 4, "token", 128)[1].numel() == 256


def test_an_untouched_cache_gives_no_error():
    q, k, v = torch.eye(4, 8), torch.ones(6, 8), torch.arange(48.0).view(6, 8)
    assert output_error(q, k, v, k, v) == 0
    assert relative_error(2 * v, v) == pytest.approx(1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_axis_matters_with_outliers_and_not_without(seed):
    with_outliers, without = (run(Params(n_outliers=n, seed=seed)) for n in (4, 0))
    assert value(with_outliers, "error_keys_by_token") > 2 * value(with_outliers, "error_keys_by_channel")
    assert value(without, "error_keys_by_token") < 1.3 * value(without, "error_keys_by_channel")
    assert all(f.agrees for r in (with_outliers, without) for f in r.facts)


@pytest.mark.parametrize("wrong", [{"n_outliers": 99}, {"n_tokens": 100}, {"outlier_size": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
