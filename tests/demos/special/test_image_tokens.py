# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.special.image_tokens import Params, encode, formula_tokens, run, splice
from llmprep.demos.special.patch_embedding import patchify


def test_without_merging_it_cuts_the_patches_of_a_vit():
    image = torch.arange(3 * 12 * 12).view(3, 12, 12)
    assert torch.equal(encode(image, 4, 1), patchify(image[None], 4)[0])


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 5), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_each_token_holds_the_pixels_of_its_block_once(height, width, patch, merge):
    side = patch * merge
    height, width = max(height, side), max(width, side)
    image = torch.arange(3 * height * width).view(3, height, width)
    tokens = encode(image, patch, merge)
    assert len(tokens) == formula_tokens(height, width, patch, merge)
    blocks = [image[:, y : y + side, x : x + side] for y in range(0, height, side) for x in range(0, width, side)]
    whole = [block.flatten() for block in blocks if block.shape[1:] == (side, side)]
    assert torch.equal(tokens.sort().values, torch.stack(whole).sort().values)


def test_the_placeholder_gives_way():
    text, image = torch.arange(5.0)[:, None], 10 + torch.arange(3.0)[:, None]
    assert splice(text, image, at=2).flatten().tolist() == [0, 1, 10, 11, 12, 3, 4]


@pytest.mark.parametrize(
    ("settings_", "tokens"),
    [
        ({}, 576),  # LLaVA-1.5
        ({"encoder_size": 224}, 256),  # LLaVA v1
        ({"resize": "native", "merge": 2}, 1728),  # 1344/28 · 1008/28
        ({"resize": "native"}, 6912),
    ],
    ids=["LLaVA-1.5", "LLaVA", "merged", "native"],
)
def test_known_models(settings_, tokens):
    result = run(Params(**settings_))
    assert result.fact("image_tokens").measured == tokens
    assert result.fact("sequence").measured == 63 + tokens
    assert result.fact("cache_mb").measured == pytest.approx(tokens * 524_288 / 1e6)


@pytest.mark.parametrize(
    "wrong", [{"patch_size": 2}, {"merge": 5}, {"height": 10}, {"width": 5000}, {"text_tokens": 0}], ids=str
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
