import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.byte_fallback import EVERYDAY, UNKNOWN, Params, normalise, run, spell, there_and_back

ASCII = frozenset(map(chr, range(128)))


@pytest.mark.parametrize(
    ("text", "symbols", "spelt"),
    [
        ("n中", "characters", [b"n", UNKNOWN]),
        ("n中", "fallback", [b"n", b"\xe4", b"\xb8", b"\xad"]),
        ("n中", "bytes", [b"n", b"\xe4", b"\xb8", b"\xad"]),
        ("é", "fallback", [b"\xc3", b"\xa9"]),
        ("😀", "fallback", [b"\xf0", b"\x9f", b"\x98", b"\x80"]),
    ],
)
def test_spelling_by_hand(text, symbols, spelt):
    assert spell(text, ASCII, symbols) == spelt


@settings(deadline=None)
@given(st.text(max_size=30))
def test_bytes_bring_everything_back(text):
    assert there_and_back(text, ASCII, "fallback", "none") == text
    assert there_and_back(text, ASCII, "bytes", "none") == text


@settings(deadline=None)
@given(st.text(max_size=30), st.sampled_from(["NFC", "NFKC"]))
def test_a_normaliser_brings_back_only_what_it_leaves_alone(text, normaliser):
    same = there_and_back(text, ASCII, "bytes", normaliser) == text
    assert same == unicodedata.is_normalized(normaliser, text)


def test_nfkc_maps_two_texts_to_one():
    assert normalise("①", "NFKC") == normalise("1", "NFKC") == "1"
    assert normalise("①", "NFC") == "①"
    assert normalise("e\u0301", "NFC") == "é"


def test_everyday_texts():
    assert all(not unicodedata.is_normalized("NFKC", s) for s in EVERYDAY)
    assert sum(unicodedata.is_normalized("NFC", s) for s in EVERYDAY) == len(EVERYDAY) - 1


@pytest.mark.parametrize("symbols", ["characters", "fallback", "bytes"])
@pytest.mark.parametrize("normaliser", ["none", "NFC", "NFKC"])
def test_facts_agree(symbols, normaliser):
    result = run(Params(symbols=symbols, normaliser=normaliser, n_strings=200))
    assert all(fact.agrees for fact in result.facts)
    assert (result.fact("unknown").measured > 0) == (symbols == "characters")


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="must"):
        Params(n_strings=0)
