# ruff: noqa: E402
"""The patch embedding against those of ViT and CLIP in transformers, on tiny random weights."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings
from transformers.models.vit.modeling_vit import ViTPatchEmbeddings

from llmprep.demos.special.patch_embedding import embed_by_matmul

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(("image_size", "patch_size"), [(24, 8), (28, 14)])
def test_is_vit(image_size, patch_size):
    torch.manual_seed(0)
    config = transformers.ViTConfig(hidden_size=12, image_size=image_size, patch_size=patch_size)
    theirs, x = ViTPatchEmbeddings(config).double(), torch.randn(2, 3, image_size, image_size, dtype=torch.float64)
    with torch.no_grad():
        ours = embed_by_matmul(x, theirs.projection.weight, theirs.projection.bias)
        torch.testing.assert_close(ours, theirs(x))
        assert (embed_by_matmul(x, *theirs.projection.parameters(), "row_column_channel") - theirs(x)).abs().max() > 0.1


def test_is_clip_with_its_class_token_and_positions():
    """CLIP's convolution has no bias; positions are added to the class token too."""
    torch.manual_seed(1)
    config = transformers.CLIPVisionConfig(hidden_size=16, num_attention_heads=2, image_size=24, patch_size=8)
    theirs, x = CLIPVisionEmbeddings(config).double(), torch.randn(2, 3, 24, 24, dtype=torch.float64)
    for weight in theirs.parameters():
        torch.nn.init.normal_(weight)
    with torch.no_grad():
        patches = embed_by_matmul(x, theirs.patch_embedding.weight, torch.zeros(16).double())
        ours = torch.cat([theirs.class_embedding.expand(2, 1, -1), patches], dim=1) + theirs.position_embedding.weight
        assert ours.shape == (2, 1 + 9, 16)
        torch.testing.assert_close(ours, theirs(x))
