# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.token_mixing import Params, run, tokens_read
from llmprep.demos.architecture.transformer_layer import Attention, FeedForward


@settings(max_examples=15, deadline=None)
@given(T=st.integers(1, 9), seed=st.integers(0, 100), data=st.data())
def test_attention_reads_all_and_ffn_reads_one(T, seed, data):
    t = data.draw(st.integers(0, T - 1))
    torch.manual_seed(seed)
    attend, x = Attention(8, 2).double(), torch.randn(1, T, 8).double()
    assert tokens_read(lambda y: attend(y, y), x, t) == T
    assert tokens_read(lambda y: attend(y, y, causal=True), x, t) == t + 1
    assert tokens_read(FeedForward(8, 64).double(), x, t) == 1


def test_changing_a_token_changes_what_autograd_says():
    """The same count without autograd: disturb each token and look."""
    torch.manual_seed(0)
    attend, x = Attention(8, 2).double(), torch.randn(1, 6, 8).double()
    before = attend(x, x, causal=True)[0, 3]
    changed = 0
    for i in range(6):
        other = x.clone()
        other[0, i] += 1
        changed += int(not torch.equal(attend(other, other, causal=True)[0, 3], before))
    assert changed == tokens_read(lambda y: attend(y, y, causal=True), x, 3) == 4


def test_a_block_that_mixes_over_batch_and_time_would_be_noticed():
    assert tokens_read(lambda y: y - y.mean(dim=1, keepdim=True), torch.randn(1, 5, 3).double(), 0) == 5


def test_a_stack_without_attention_is_a_dictionary_from_token_to_output():
    torch.manual_seed(0)
    layers, words = [FeedForward(8, 16) for _ in range(3)], torch.randn(3, 8)
    x = words[[0, 1, 0, 2, 1]][None]
    for layer in layers:
        x = x + layer(x)
    torch.testing.assert_close(x[0, 0], x[0, 2])
    torch.testing.assert_close(x[0, 1], x[0, 4])


@pytest.mark.parametrize(
    "p", [Params("FFN", seq_len=2, position=1), Params("cross-attention", seed=4), Params("LayerNorm", position=0)]
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"seq_len": 1}, {"position": 16}, {"position": -1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
