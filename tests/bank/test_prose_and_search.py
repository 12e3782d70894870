import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.bank.numbers import loose_numbers, stands_in
from llmprep.bank.prose import Block, Span, blocks, join, plain, spans
from llmprep.bank.search import match_expression, split


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [
        ("one", "two", "one two"),
        ("显存的", "带宽", "显存的带宽"),
        ("一个", "token", "一个 token"),
        ("取多大，", "分数", "取多大，分数"),
        ("取多大，", "head_dim", "取多大，head_dim"),
        ("token", "（词元）", "token（词元）"),
        ("", "x", "x"),
    ],
)
def test_lines_join_as_each_language_wants(left, right, joined):
    assert join(left, right) == joined


def test_blocks():
    text = "One\ntwo.\n\n- first\n  more\n- second\n2. third\n\n```\ncode  here\n```\nafter"
    assert blocks(text) == [
        Block("paragraph", "One two."),
        Block("item", "first more", "-"),
        Block("item", "second", "-"),
        Block("item", "third", "2."),
        Block("code", "code  here"),
        Block("paragraph", "after"),
    ]


def test_spans():
    assert spans("a **b** `c**` d") == [
        Span("", "a "),
        Span("bold", "b"),
        Span("", " "),
        Span("code", "c**"),
        Span("", " d"),
    ]


@given(st.text(alphabet="ab *`\n-缓存，", max_size=60).filter(lambda text: "```" not in text))
def test_plain_keeps_every_word(text):
    kept = {c for c in plain(text) if c in "ab缓存，"}
    assert kept == {c for c in text if c in "ab缓存，"}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("131,072 B and 20.5%", ["131,072", "20.5"]),
        ("INT8, Llama-3-8B, d_2, 10⁶ and `99`", []),
        ("2·L·H·D and T(T+1)/2", []),
        ("4 heads, 12 layers", ["12"]),
        ("约 780 GB", ["780"]),
        ("提高 24 倍", ["24"]),
        ("46.70B and 12.88B", []),
    ],
)
def test_numbers_that_need_backing(text, numbers):
    assert loose_numbers(text) == numbers


@pytest.mark.parametrize(
    ("number", "known", "backed"),
    [
        ("4.13", [4.127], True),
        ("4.14", [4.127], False),
        ("59", [0.59], True),
        ("131,072", [131072], True),
        ("59", [0.6], False),
    ],
)
def test_a_printed_number_is_a_known_one_rounded(number, known, backed):
    assert stands_in(number, known) is backed


def test_chinese_is_split_by_character():
    assert split("KV缓存") == "KV 缓 存"
    assert match_expression("kv 缓存") == '"kv" AND "缓 存"'
    assert match_expression("pag") == '"pag"*'
