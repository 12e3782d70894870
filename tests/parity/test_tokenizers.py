"""The tokenizer lessons against Hugging Face's `tokenizers`: trained from the same words, to the last merge."""

import math
from collections import Counter

import pytest

pytest.importorskip("tokenizers")
from tokenizers import Tokenizer, models, trainers

from llmprep.demos.architecture import byte_pair_encoding, first_merge, longest_match, unigram_pruning

pytestmark = pytest.mark.parity


def latin(data: bytes) -> str:
    """A byte a character, so that a library of characters trains on bytes, with the byte as its id."""
    return data.decode("latin-1")


@pytest.mark.parametrize("corpus", ["alice", "tokens-en", "tokens-zh", "tokens-code"])
def test_byte_level_bpe_learns_the_same_merges_and_cuts_the_same(corpus):
    text = byte_pair_encoding.read_corpus(corpus)
    ours, _, _ = byte_pair_encoding.train(text, 300)
    words = [latin(word.encode()) for word in byte_pair_encoding.WORD.findall(text)]
    theirs = Tokenizer(models.BPE())
    alphabet = [chr(b) for b in range(256)]
    theirs.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=556, initial_alphabet=alphabet, show_progress=False)
    )
    ids = theirs.get_vocab()
    assert sorted(ids, key=ids.get) == [latin(token) for token in ours.vocab]
    other = byte_pair_encoding.read_corpus("tokens-zh" if corpus == "tokens-en" else "tokens-en")
    for word in set(byte_pair_encoding.WORD.findall(other)):
        assert byte_pair_encoding.encode(word, ours) == theirs.encode(latin(word.encode())).ids


def test_the_wordpiece_trainer_of_tokenizers_counts_like_bpe():
    """It wraps the BPE trainer: its first merge is the most frequent pair, not the likeliest."""
    library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words = [word for word, n in first_merge.TOY.items() for _ in range(n)]
    library.train_from_iterator(words, trainers.WordPieceTrainer(vocab_size=40, special_tokens=[], show_progress=False))
    ids = library.get_vocab()
    learnt = [token for token in sorted(ids, key=ids.get) if len(token.removeprefix("##")) > 1]
    assert learnt[0] == "##er"
    assert first_merge.run(first_merge.Params(score="count")).fact("pair_count").measured == 27


def test_wordpiece_takes_the_longest_match():
    tok, _, _ = byte_pair_encoding.train(byte_pair_encoding.read_corpus("alice"), 300)
    vocab = frozenset(tok.vocab)
    entries = [latin(token) for token in tok.vocab]
    library = Tokenizer(
        models.WordPiece({t: i for i, t in enumerate(entries)}, unk_token="x", continuing_subword_prefix="")
    )
    for word in set(byte_pair_encoding.WORD.findall(byte_pair_encoding.read_corpus("tokens-en"))):
        ours = [latin(piece) for piece in longest_match.by_longest_match(word, vocab)]
        assert library.encode(latin(word.encode())).tokens == ours


def test_unigram_finds_the_same_best_cut():
    words = Counter({"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5, "hugging": 3})
    p = unigram_pruning.normalise(unigram_pruning.seed_pieces(words, 4))
    p = unigram_pruning.normalise(unigram_pruning.expected_counts(words, p, 4)[0])
    library = Tokenizer(models.Unigram([("<unk>", -100.0), *((piece, math.log(x)) for piece, x in p.items())], 0))
    for word in [*words, "punhug", "gunbus", "hinghugs"]:
        assert library.encode(word).tokens == unigram_pruning.viterbi(word, p, 4)[1]
