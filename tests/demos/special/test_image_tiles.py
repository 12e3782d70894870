import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.special.image_tiles import Params, cut, formula_tokens, run, scale_down

sides = st.integers(1, 16384)


@pytest.mark.parametrize(
    ("width", "height", "detail", "tokens"),
    [(1024, 1024, "high", 765), (2048, 4096, "high", 1105), (4096, 8192, "low", 85), (4096, 8192, "high", 1105)],
    ids=["guide, first example", "guide, second example", "guide, third example", "no dearer than half the size"],
)
def test_examples_of_the_guide(width, height, detail, tokens):
    assert run(Params(width=width, height=height, detail=detail)).fact("tokens").measured == tokens


def test_without_scaling_the_second_example_would_cost_five_times_as_much():
    assert formula_tokens(2048, 4096) == 85 + 170 * 4 * 8


@given(sides, sides)
def test_scaled_images_fit_and_keep_their_shape(width, height):
    w, h = scale_down(width, height)
    assert max(w, h) <= 2048
    assert min(w, h) <= 768
    assert w <= width
    assert h <= height
    if min(w, h) > 50:
        assert w / h == pytest.approx(width / height, rel=0.03)
    assert scale_down(w, h) == (w, h)


@given(st.integers(1, 2048), st.integers(1, 2048))
def test_tiles_cover_the_image_once(w, h):
    tiles = cut(w, h)
    assert sum(tw * th for *_, tw, th in tiles) == w * h
    assert len({(x, y) for x, y, *_ in tiles}) == len(tiles)
    assert all(0 < tw <= 512 and 0 < th <= 512 and x + tw <= w and y + th <= h for x, y, tw, th in tiles)
    assert formula_tokens(w, h) == 85 + 170 * len(tiles)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"height": 20_000}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
