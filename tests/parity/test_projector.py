# ruff: noqa: E402
"""LLaVA in transformers, tiny and with random weights: our projector, and nothing but concatenation after it."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmprep.demos.special.projector import projector

pytestmark = pytest.mark.parity
IMAGE = 90  # the placeholder's token id


def tiny_llava() -> torch.nn.Module:
    small = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(hidden_size=16, image_size=28, patch_size=14, **small),
        text_config=transformers.LlamaConfig(hidden_size=24, vocab_size=100, num_key_value_heads=2, **small),
        image_token_index=IMAGE,
        image_seq_length=4,
    )
    torch.manual_seed(0)
    return transformers.LlavaForConditionalGeneration(config).double().eval()


def test_projector_is_llavas_and_image_tokens_are_only_spliced_in():
    model = tiny_llava()
    image = torch.randn(1, 3, 28, 28, dtype=torch.float64)
    ids = torch.tensor([[1, 7, IMAGE, IMAGE, IMAGE, IMAGE, 8, 9]])  # 28/14 = 2, 2² = 4 patches
    llava = model.model
    ours = projector("mlp", 16, 24).double()
    with torch.no_grad():
        ours[0].load_state_dict(llava.multi_modal_projector.linear_1.state_dict())
        ours[2].load_state_dict(llava.multi_modal_projector.linear_2.state_dict())
        patches = llava.vision_tower(image, output_hidden_states=True).hidden_states[-2][:, 1:]  # no class token
        torch.testing.assert_close(ours(patches), llava.multi_modal_projector(patches))
        words = llava.language_model.embed_tokens(ids)
        spliced = torch.cat([words[:, :2], ours(patches), words[:, 6:]], dim=1)
        hidden = llava.language_model(inputs_embeds=spliced).last_hidden_state
        torch.testing.assert_close(model.lm_head(hidden), model(input_ids=ids, pixel_values=image).logits)
