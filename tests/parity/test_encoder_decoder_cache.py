# ruff: noqa: E402
"""The two caches of an encoder-decoder against those that T5 of transformers fills while it generates."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmprep.demos.architecture.encoder_decoder_cache import KeysValues, encoder_decoder_caches

pytestmark = pytest.mark.parity


def test_t5_keeps_a_growing_and_a_fixed_cache():
    config = transformers.T5Config(vocab_size=16, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_decoder_layers=2)
    config.num_heads, config.decoder_start_token_id = 3, 0
    model = transformers.T5ForConditionalGeneration(config).eval()
    source, cache, sizes = torch.arange(1, 8)[None], None, []
    with torch.no_grad():
        memory = model.encoder(input_ids=source)
        for token in (0, 3, 5):
            out = model(
                encoder_outputs=memory, decoder_input_ids=torch.tensor([[token]]), past_key_values=cache, use_cache=True
            )
            cache = out.past_key_values
            sizes.append(
                tuple(
                    sum(layer.keys.numel() + layer.values.numel() for layer in part.layers) * 2
                    for part in (cache.self_attention_cache, cache.cross_attention_cache)
                )
            )
        growing, fixed = encoder_decoder_caches([KeysValues(3, 4) for _ in range(2)], source.shape[1], 3)
    assert sizes == list(zip(growing[1:], fixed[1:], strict=True))
