# ruff: noqa: E402
"""The loss against transformers' CLIPModel, on a tiny model with random weights: value and gradients."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from llmprep.demos.special.clip_loss import clip_loss

pytestmark = pytest.mark.parity


def tiny_clip() -> torch.nn.Module:
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": 40, "max_position_embeddings": 8, "eos_token_id": 39},
        vision_config={**small, "image_size": 16, "patch_size": 8},
        projection_dim=12,
    )
    torch.manual_seed(0)
    return transformers.CLIPModel(config).double().eval()


def test_is_clips_loss_and_gradient():
    model = tiny_clip()
    images = torch.randn(6, 3, 16, 16, dtype=torch.float64)
    captions = torch.cat([torch.randint(1, 39, (6, 5)), torch.full((6, 1), 39)], dim=1)
    theirs = model(input_ids=captions, pixel_values=images, return_loss=True)
    ours = clip_loss(theirs.image_embeds, theirs.text_embeds, model.logit_scale)
    torch.testing.assert_close(ours, theirs.loss)
    gradients = [torch.autograd.grad(loss, model.logit_scale, retain_graph=True)[0] for loss in (ours, theirs.loss)]
    torch.testing.assert_close(*gradients)
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07, rel=1e-3)


def test_is_the_loss_of_a_similarity_matrix():
    torch.manual_seed(1)
    images, texts = (torch.nn.functional.normalize(torch.randn(7, 5), dim=-1) for _ in range(2))
    ours = clip_loss(images, texts, torch.tensor(2.0))
    torch.testing.assert_close(ours, image_text_contrastive_loss(torch.tensor(2.0).exp() * texts @ images.T))
