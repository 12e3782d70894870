# ruff: noqa: E402
"""ALiBi's slopes and biases against those of BLOOM and MPT in transformers."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from llmprep.demos.architecture.alibi import bias, slopes

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("n_heads", [1, 4, 8, 12, 32, 112])  # 112: BLOOM-176B
def test_bloom_adds_the_slope_times_the_index_of_the_key(n_heads):
    theirs = build_alibi_tensor(torch.ones(1, 20), n_heads, torch.float32)  # (H, 1, T)
    torch.testing.assert_close(theirs[:, 0], (slopes(n_heads)[:, None] * torch.arange(20)).float())
    future = torch.ones(20, 20, dtype=torch.bool).triu(1)
    a, b = (
        x.masked_fill(future, -torch.inf).softmax(-1) for x in (theirs.double().expand(-1, 20, 20), bias(n_heads, 20))
    )
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_heads", [4, 8, 12, 24, 32])
def test_mpt_has_the_row_of_the_last_query(n_heads):
    theirs = build_mpt_alibi_tensor(n_heads, 20)[:, 0]  # (H, T)
    torch.testing.assert_close(theirs, bias(n_heads, 20)[:, -1].float())
