# ruff: noqa: E402
"""T5's buckets and the bias of its first layer against transformers."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.t5.modeling_t5 import T5Attention

from llmprep.demos.architecture.relative_bias import bias, bucket, bucket_both_ways

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (64, 300)])
def test_buckets_both_ways_and_back_only(n_buckets, max_distance):
    distance = torch.arange(-1000, 1001)  # query minus key; T5 counts key minus query
    theirs = T5Attention._relative_position_bucket(-distance, True, n_buckets, max_distance)
    assert theirs.tolist() == [bucket_both_ways(d, n_buckets, max_distance) for d in distance.tolist()]
    theirs = T5Attention._relative_position_bucket(-distance, False, n_buckets, max_distance)
    assert theirs.tolist() == [bucket(max(d, 0), n_buckets, max_distance) for d in distance.tolist()]


def test_bias_of_the_decoder():
    config = transformers.T5Config(d_model=16, d_kv=4, num_heads=4, is_decoder=True)
    with torch.random.fork_rng(devices=[]):
        layer = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    theirs = layer.compute_bias(200, 200)[0]  # (H, T, T)
    torch.testing.assert_close(bias(layer.relative_attention_bias.weight, 200), theirs)


def test_one_table_serves_all_layers_of_a_stack():
    config = transformers.T5Config(d_model=16, d_kv=4, num_heads=4, num_layers=3, d_ff=32, vocab_size=32)
    with torch.random.fork_rng(devices=[]):
        names = [n for n, _ in transformers.T5Model(config).named_parameters() if "relative_attention_bias" in n]
    assert [n.split(".")[:3] for n in names] == [["encoder", "block", "0"], ["decoder", "block", "0"]]
