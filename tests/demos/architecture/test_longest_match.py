import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.byte_pair_encoding import read_corpus, train
from llmprep.demos.architecture.longest_match import Params, by_fewest, by_longest_match, by_merges, run

TOK, _, _ = train(read_corpus("alice"), 200)
VOCAB = frozenset(TOK.vocab)


def entries(*extra):
    return {bytes([b]) for b in range(256)} | {word.encode() for word in extra}


@pytest.mark.parametrize(
    ("word", "vocab", "cut"),
    [
        ("unaffable", ("un", "aff", "able"), ["un", "aff", "able"]),  # the example of BERT's code
        ("abcd", ("ab", "abc", "bcd", "cd"), ["abc", "d"]),
        ("aaa", ("aa",), ["aa", "a"]),
        ("xyz", (), ["x", "y", "z"]),
    ],
)
def test_longest_match_by_hand(word, vocab, cut):
    assert by_longest_match(word, entries(*vocab)) == [piece.encode() for piece in cut]


def test_greedy_is_not_always_shortest():
    vocab = entries("abc", "ab", "cdef")
    assert len(by_longest_match("abcdef", vocab)) == 4  # abc d e f
    assert by_fewest("abcdef", vocab) == [b"ab", b"cdef"]


@settings(deadline=None)
@given(st.text(max_size=12))
def test_every_cut_makes_up_the_word_and_none_is_below_the_fewest(word):
    cuts = [by_merges(word, TOK), by_longest_match(word, VOCAB), by_fewest(word, VOCAB)]
    assert {b"".join(cut) for cut in cuts} == {word.encode()}
    assert len(cuts[2]) == min(map(len, cuts))


@pytest.mark.parametrize("method", ["merges", "longest_match", "fewest"])
@pytest.mark.parametrize("applied_to", ["tokens-en", "tokens-code"])
def test_facts_agree(method, applied_to):
    result = run(Params(method=method, applied_to=applied_to, n_merges=80))
    assert all(fact.agrees for fact in result.facts)
    assert result.fact("tokens_fewest").measured <= result.fact("tokens").measured


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="must"):
        Params(n_merges=0)
