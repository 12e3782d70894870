# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.length_generalisation import (
    RULE,
    Decoder,
    Params,
    V,
    formula_entropy,
    next_token_losses,
    random_source,
    run,
    sample,
    sinusoids,
    surprise,
)

SCHEMES = ("none", "learned", "sinusoidal", "rope", "alibi")


@pytest.fixture
def source():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return random_source()


def test_sinusoids_are_those_of_the_paper():
    """Section 3.5: PE(pos, 2i) = sin(pos/10000^(2i/d)), PE(pos, 2i+1) = cos of the same."""
    pe = sinusoids(50, 32)
    for pos, i in ((0, 0), (7, 0), (7, 5), (49, 15)):
        angle = pos / 10_000 ** (2 * i / 32)
        assert pe[pos, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
        assert pe[pos, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_sinusoids_alone_have_products_that_depend_on_the_distance():
    """It is the projections and the content added to them that spoil it."""
    pe = sinusoids(100, 64).double()
    torch.testing.assert_close((pe[10:50] * pe[3:43]).sum(-1), (pe[60:100] * pe[53:93]).sum(-1), rtol=1e-5, atol=1e-5)


def test_the_source_needs_both_tokens(source):
    assert torch.allclose(source.sum(-1), torch.ones(V, V))
    assert torch.allclose(source.mean(0), torch.full((V, V), 1 / V))  # the last token alone says nothing
    assert torch.allclose(source.amax(-1), torch.full((V, V), RULE + (1 - RULE) / V))


def test_formula_is_the_entropy_of_the_source(source):
    entropy = -(source * source.log()).sum(-1)
    torch.testing.assert_close(entropy, torch.full((V, V), formula_entropy()))


def test_surprise_reads_the_right_places(source):
    with torch.random.fork_rng(devices=[]):
        text = sample(source, 3, 9)
    by_hand = [[-math.log(source[t[i - 2], t[i - 1], t[i]]) for i in range(2, 9)] for t in text.tolist()]
    torch.testing.assert_close(surprise(source, text), torch.tensor(by_hand))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_decoder_is_causal_and_starts_at_chance(scheme):
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        model, text = Decoder(scheme, 64), torch.randint(V, (2, 40))
        other = text.clone()
        other[:, 20:] = (other[:, 20:] + 1) % V
        assert torch.allclose(model(text)[:, :20], model(other)[:, :20], atol=1e-6)
        assert next_token_losses(model, text).shape == (2, 38)


@pytest.mark.parametrize(("scheme", "blind"), [("none", True), ("rope", False), ("alibi", False)])
def test_order_of_earlier_tokens_matters_only_with_positions(scheme, blind):
    """One causal layer without positions sees the last token and a bag of the others."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(2)
        model, text = Decoder(scheme, 64), torch.tensor([[0, 1, 2, 3, 1, 2]])
        a, b = model(text)[0, -1], model(text[:, [4, 2, 0, 1, 3, 5]])[0, -1]
    assert torch.allclose(a, b, atol=1e-5) == blind


@pytest.mark.parametrize(("position", "holds"), [("alibi", True), ("sinusoidal", False)])
def test_alibi_holds_and_sinusoids_do_not(position, holds):
    result = run(Params(position=position, n_seeds=1, seed=7))
    assert all(f.agrees for f in result.facts)
    assert result.fact("excess_inside").measured < 0.3
    assert (result.fact("excess_beyond").measured < 0.5) == holds


@pytest.mark.parametrize("wrong", [{"trained_len": 8}, {"steps": 10}, {"n_seeds": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
