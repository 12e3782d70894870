# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.special.projector import (
    D_T,
    D_V,
    Params,
    TwoSpaces,
    alignment,
    fit,
    formula_parameters,
    projector,
    run,
)


@pytest.fixture
def spaces():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        yield TwoSpaces()


def test_least_squares_leaves_a_residual_at_right_angles_to_the_features(spaces):
    vision, text = spaces.pairs(300)
    mapping = fit("linear", vision, text)
    with torch.no_grad():
        residual = (text - mapping(vision)).double()
    assert (vision.double().T @ residual).abs().max() < 0.01  # the normal equations
    assert residual.sum(dim=0).abs().max() < 0.01  # and of the bias


def test_least_squares_finds_a_linear_map_that_is_there():
    torch_map = torch.nn.Linear(D_V, D_T)
    vision = torch.randn(200, D_V, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        text = torch_map(vision)
    torch.testing.assert_close(fit("linear", vision, text)[0].weight, torch_map.weight, atol=1e-4, rtol=1e-3)


def test_fitting_moves_only_the_projector(spaces):
    before = [w.clone() for w in (spaces.first, spaces.second, spaces.words)]
    mapping = fit("mlp", *spaces.pairs(64))
    assert all(torch.equal(a, b) for a, b in zip(before, (spaces.first, spaces.second, spaces.words), strict=True))
    assert {w.shape for w in mapping.parameters()} == {(D_T, D_V), (D_T,), (D_T, D_T)}


def test_shuffled_pairs_align_nothing(spaces):
    vision, text = spaces.pairs(2048)
    shuffled = fit("linear", vision, text[torch.randperm(2048)])
    assert alignment(shuffled, *spaces.pairs(512))[1] < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_a_linear_projector_aligns_what_it_never_saw(seed):
    result = run(Params(seed=seed))
    assert result.fact("cosine").measured > 0.95
    assert result.fact("top1").measured > 0.98
    by_heart = {row[0]: row for row in result.table.rows}[64]
    assert by_heart[3] > 0.99 > 0.8 > by_heart[1]


@pytest.mark.parametrize(("kind", "published"), [("linear", 4_198_400), ("mlp", 20_979_712)])
def test_size_for_vicuna_7b(kind, published):
    assert formula_parameters(kind, 1024, 4096) == published
    with torch.device("meta"):
        assert sum(w.numel() for w in projector(kind, 1024, 4096).parameters()) == published


@pytest.mark.parametrize("wrong", [{"n_pairs": 4}, {"vision_dim": 1}, {"llm": "gpt2"}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
