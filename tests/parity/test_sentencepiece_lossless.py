"""What SentencePiece itself does to a text; our own spelling of the bytes against its byte tokens."""

import pytest

pytest.importorskip("sentencepiece")

from llmprep.demos.architecture.byte_fallback import spell
from llmprep.demos.architecture.byte_pair_encoding import read_corpus
from llmprep.demos.architecture.sentencepiece_lossless import Params, run, train

pytestmark = pytest.mark.parity


def test_unseen_characters_become_their_bytes():
    model = train(byte_fallback=True, rule="identity", keep_spaces=True)
    for text in ("龘", "é", "😀"):
        expected = [f"<0x{b[0]:02X}>" for b in spell(text, frozenset(read_corpus("tokens-en")), "fallback")]
        assert model.encode(text, out_type=str) == expected


@pytest.mark.parametrize(("rule", "back"), [("nmt_nfkc", "1"), ("nfkc", "1"), ("identity", "①")])
def test_the_rule_rewrites_before_anything_else(rule, back):
    model = train(byte_fallback=True, rule=rule, keep_spaces=True)
    assert model.decode(model.encode("①")) == back


def test_nmt_nfkc_is_the_default_rule():
    import io

    import sentencepiece

    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(read_corpus("tokens-en").splitlines()),
        model_writer=writer,
        vocab_size=300,
        minloglevel=2,
    )
    assert b"nmt_nfkc" in writer.getvalue()


def test_not_even_the_strict_setting_keeps_its_own_sign():
    model = train(byte_fallback=True, rule="identity", keep_spaces=True)
    assert model.decode(model.encode("a\u2581b")) == "a b"


@pytest.mark.parametrize("keep_spaces", [False, True])
@pytest.mark.parametrize("byte_fallback", [False, True])
def test_facts_agree(byte_fallback, keep_spaces):
    result = run(Params(byte_fallback=byte_fallback, keep_spaces=keep_spaces, rule="identity", n_strings=200))
    assert all(fact.agrees for fact in result.facts)
    assert (result.fact("lossless").measured == 200) == (byte_fallback and keep_spaces)
