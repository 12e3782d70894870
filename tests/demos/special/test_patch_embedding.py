# ruff: noqa: E402, N803, N806 (the letters of the paper)
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.special.patch_embedding import (
    Params,
    embed_by_convolution,
    embed_by_matmul,
    formula_tokens,
    patchify,
    pixels_without_gradient,
    run,
)

F64 = torch.float64


def random_layer(channels: int, d: int, p: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(d, channels, p, p, dtype=F64, generator=g), torch.randn(d, dtype=F64, generator=g)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_cutting_is_torchs_unfold_and_multiplying_is_a_convolution(C, p, n, rest, seed):
    S = n * p + rest % p
    images = torch.randn(2, C, S, S, dtype=F64, generator=torch.Generator().manual_seed(seed))
    unfolded = torch.nn.functional.unfold(images, kernel_size=p, stride=p).transpose(1, 2)
    assert torch.equal(patchify(images, p), unfolded)
    kernel, bias = random_layer(C, 7, p, seed)
    torch.testing.assert_close(embed_by_matmul(images, kernel, bias), embed_by_convolution(images, kernel, bias))


def test_each_patch_is_the_square_one_would_cut_out():
    images = torch.arange(3 * 6 * 6).view(1, 3, 6, 6)
    patches = patchify(images, 2)
    assert torch.equal(patches[0, 3 * 1 + 2].view(3, 2, 2), images[0, :, 2:4, 4:6])  # second row, third column


def test_patches_flattened_as_images_come_do_not_fit_the_kernel():
    images = torch.randn(1, 3, 8, 8, dtype=F64, generator=torch.Generator().manual_seed(0))
    kernel, bias = random_layer(3, 5, 4, 0)
    wrong = embed_by_matmul(images, kernel, bias, "row_column_channel")
    assert (wrong - embed_by_convolution(images, kernel, bias)).abs().max() > 0.1
    reordered = kernel.permute(0, 2, 3, 1).flatten(1)  # the kernel turned the same way fits again
    right = patchify(images, 4, "row_column_channel") @ reordered.T + bias
    torch.testing.assert_close(right, embed_by_convolution(images, kernel, bias))


def test_pixels_beyond_the_last_patch_are_lost():
    kernel, bias = random_layer(3, 5, 4, 1)
    assert pixels_without_gradient(torch.randn(1, 3, 8, 8, dtype=F64), kernel, bias) == 0
    assert pixels_without_gradient(torch.randn(1, 3, 11, 11, dtype=F64), kernel, bias) == 11 * 11 - 8 * 8


@pytest.mark.parametrize(
    ("image_size", "patch_size", "tokens"),
    [(224, 16, 196), (224, 32, 49), (224, 14, 256), (336, 14, 576), (384, 16, 576), (384, 14, 729), (518, 14, 1369)],
    ids=["ViT-B/16", "ViT-B/32", "CLIP ViT-L/14", "CLIP ViT-L/14-336", "ViT-B/16-384", "SigLIP so400m", "DINOv2"],
)
def test_tokens_of_known_models(image_size, patch_size, tokens):
    assert formula_tokens(image_size, patch_size) == tokens
    assert run(Params(image_size=image_size, patch_size=patch_size, d_model=8)).fact("tokens").measured == tokens


@pytest.mark.parametrize(
    "wrong", [{"patch_size": 3}, {"patch_size": 300}, {"image_size": 1024, "patch_size": 8}, {"d_model": 4}], ids=str
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
