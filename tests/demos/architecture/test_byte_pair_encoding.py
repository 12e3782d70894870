from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.byte_pair_encoding import (
    UNKNOWN,
    WORD,
    Params,
    count_pairs,
    decode,
    encode,
    is_text,
    merge,
    random_strings,
    read_corpus,
    run,
    train,
)

CORPORA = ["alice", "tokens-en", "tokens-zh", "tokens-code"]
ALICE, _, _ = train(read_corpus("alice"), 300)


@pytest.mark.parametrize(
    ("word", "pair", "merged"),
    [
        ((5, 6, 5, 6, 5), (5, 6), (9, 9, 5)),
        ((5, 5, 5), (5, 5), (9, 5)),  # from the left
        ((5, 5, 5, 5), (5, 5), (9, 9)),
        ((6, 5), (5, 6), (6, 5)),  # order matters
        ((7,), (7, 7), (7,)),
    ],
)
def test_merge_by_hand(word, pair, merged):
    assert merge(word, pair, 9) == merged


def test_the_example_of_the_article():
    """aaabdaaabac → XdXac after three merges (Gage 1994, as Wikipedia tells it)."""
    tok, frequencies, words = train("aaabdaaabac", 3)
    assert tok.vocab[256] == b"aa"
    assert [len(w) for w in words] == [5]
    assert frequencies[0] == 4  # aaa holds the pair twice, though it can be merged once
    assert b"".join(tok.vocab[i] for i in next(iter(words))) == b"aaabdaaabac"


def test_pairs_are_counted_with_the_frequency_of_their_word():
    assert count_pairs({(1, 2, 1, 2): 3, (2, 1): 1}) == {(1, 2): 6, (2, 1): 4}


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_comes_back(text):
    assert decode(encode(text, ALICE), ALICE) == text


@settings(deadline=None)
@given(st.text(max_size=60))
def test_the_pattern_drops_nothing(text):
    assert "".join(WORD.findall(text)) == text


@settings(max_examples=25, deadline=None)
@given(st.text(alphabet="ab c中", min_size=2, max_size=60), st.integers(1, 10))
def test_encoding_the_corpus_gives_what_training_left(text, n_merges):
    """Taking the earliest merge that fits, word by word, is the same as replaying all merges in order."""
    tok, _, _ = train(text, n_merges)
    replayed = []
    for chunk in WORD.findall(text):
        word = tuple(chunk.encode())
        for pair, new in tok.merges.items():
            word = merge(word, pair, new)
        replayed += word
    assert encode(text, tok) == replayed


@pytest.mark.parametrize("corpus", CORPORA)
def test_no_merge_is_more_frequent_than_the_one_before(corpus):
    _, frequencies, _ = train(read_corpus(corpus), 100)
    assert all(a >= b for a, b in pairwise(frequencies))
    assert frequencies[0] > 2 * frequencies[50]


def test_no_token_reaches_across_two_words():
    words = [token.decode() for token in ALICE.vocab[256:] if is_text(token)]
    assert len(words) > 290
    assert all(len(WORD.findall(word)) == 1 for word in words)


def test_characters_cannot_write_down_what_they_have_not_seen():
    tok, _, _ = train("low lower lowest", 5, "characters")
    assert decode(encode("lower", tok), tok) == "lower"
    assert decode(encode("löwer", tok), tok) == "l\N{REPLACEMENT CHARACTER}wer"
    assert tok.vocab[0] == UNKNOWN


def test_bytes_of_one_character_are_merged_first_in_chinese():
    tok, _, _ = train(read_corpus("tokens-zh"), 100)
    partial = [token for token in tok.vocab[256:] if not is_text(token)]
    assert len(partial) > 50
    assert all(max(token) > 0x7F for token in partial)


def test_random_strings_are_unicode_of_all_lengths():
    strings = random_strings(300, seed=1)
    assert strings == random_strings(300, seed=1) != random_strings(300, seed=2)
    assert {len(c.encode()) for s in strings for c in s} == {1, 2, 3, 4}


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("alphabet", ["bytes", "characters"])
def test_facts_agree(corpus, alphabet):
    result = run(Params(corpus=corpus, alphabet=alphabet, n_merges=60, n_strings=30))
    assert all(fact.agrees for fact in result.facts)
    assert (result.fact("roundtrip_failures").measured > 0) == (alphabet == "characters")


@pytest.mark.parametrize("bad", [{"n_merges": 0}, {"n_merges": 601}, {"n_strings": 0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
