# ruff: noqa: E402
"""The masker against DataCollatorForLanguageModeling of transformers: the same draws, the same inputs and labels."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from llmprep.demos.architecture.masked_tokens import FIRST_WORD, PAD, mask_tokens

pytestmark = pytest.mark.parity
VOCAB = 200


@pytest.fixture(scope="module")
def tokenizer():
    ids = {"[PAD]": 0, "[MASK]": 1} | {f"w{i}": i for i in range(FIRST_WORD, VOCAB)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[PAD]"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", mask_token="[MASK]")


@pytest.fixture
def tokens():
    tokens = torch.randint(FIRST_WORD, VOCAB, (20, 100), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = PAD
    return tokens


@pytest.mark.parametrize(("rate", "mask", "random"), [(0.15, 0.8, 0.1), (0.4, 0.5, 0.25)], ids=str)
def test_same_seed_same_example(tokenizer, tokens, rate, mask, random):
    collator = transformers.DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=rate, mask_replace_prob=mask, random_replace_prob=random
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        theirs = collator.torch_mask_tokens(tokens.clone())
        torch.manual_seed(1)
        ours = mask_tokens(tokens, VOCAB, rate, mask, random / (1 - mask))
        torch.manual_seed(1)
        bug = mask_tokens(tokens, VOCAB, rate, mask, random)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    assert not torch.equal(bug[0], theirs[0])
