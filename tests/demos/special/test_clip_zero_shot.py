# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.special.clip_zero_shot import (
    BATCH,
    CLASSES,
    UNSEEN,
    Params,
    TwoTowers,
    draw,
    run,
    train,
    zero_shot,
)


@pytest.fixture
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        yield


@pytest.mark.usefixtures("seeded")
def test_a_drawing_is_its_shape_in_its_colour_somewhere():
    images = torch.stack([draw(*CLASSES[[8]].T)[0] for _ in range(200)])  # green, square
    assert images.shape == (200, 3, 8, 8)
    lit = images > 0.5
    assert lit.sum(dim=(2, 3)).double().mean(dim=0).tolist() == pytest.approx([0.5, 25, 0.5], abs=1)
    corners = images[:, 1, [0, 0, 7, 7], [0, 7, 0, 7]].mean(dim=0)
    assert ((corners > 0) & (corners < 0.6)).all()  # its place varies


def test_every_colour_and_every_shape_is_seen_in_other_company():
    assert len(CLASSES) == 36
    assert UNSEEN.sum() == 6
    for column in CLASSES[~UNSEEN].T:
        assert torch.bincount(column).tolist() == [5] * 6
    assert (~UNSEEN).sum() > BATCH


@pytest.mark.usefixtures("seeded")
def test_captions_are_the_weights_of_the_classifier():
    """Swap two words, and the classes they name are swapped."""
    towers, _, shown = train("words", 100)
    accuracy = zero_shot(towers, "words")
    assert shown == 0
    assert accuracy[~UNSEEN].mean() > 0.5
    with torch.no_grad():
        towers.words.weight[[6, 7]] = towers.words.weight[[7, 6]]  # the words for cross and ring
    swapped = zero_shot(towers, "words").view(6, 6).mean(dim=0)
    assert swapped[:2].max() < 0.2
    assert swapped[2:].mean() > 0.5


@pytest.mark.usefixtures("seeded")
def test_untrained_towers_guess():
    assert zero_shot(TwoTowers(), "words").mean() < 0.15


def test_ids_learn_the_seen_classes_but_no_new_one():
    result = run(Params(captions="ids", n_seeds=1, steps=250))
    assert result.fact("accuracy_seen").measured > 0.8
    assert result.fact("accuracy_unseen").measured < 0.1


def test_shuffled_captions_teach_nothing():
    result = run(Params(captions="shuffled", n_seeds=1, steps=200))
    assert result.fact("final_loss").agrees
    assert result.fact("accuracy_seen").measured < 0.15


@pytest.mark.parametrize("wrong", [{"steps": 10}, {"n_seeds": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
