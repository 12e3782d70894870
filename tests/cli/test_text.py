import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from llmprep.cli.render.keys import Keys
from llmprep.cli.render.text import hang, line, pad, prose, wrap

MIXED = st.text(alphabet="abc de 缓存显存，。（）“”—KV-·", max_size=120)


@given(MIXED, st.integers(10, 80))
def test_lines_never_exceed_the_width_and_lose_nothing_but_spaces(text, width):
    rows = [row.plain for row in wrap(Text(text), width)]
    assert all(cell_len(row) <= width for row in rows)
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")


@given(st.lists(st.text(alphabet="缓存显存", min_size=1, max_size=6), min_size=1, max_size=12), st.integers(8, 30))
def test_no_closing_punctuation_starts_a_line(clauses, width):
    rows = [row.plain for row in wrap(Text("，".join(clauses) + "。"), width)]
    assert not any(row.startswith(("，", "。")) for row in rows)


@pytest.mark.parametrize(
    ("text", "width", "rows"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("缓存显存带宽", 8, ["缓存显存", "带宽"]),
        ("缓存显存，带宽", 8, ["缓存显", "存，带宽"]),
        ("（缓存）显存", 6, ["（缓", "存）显", "存"]),
        ("KV 缓存的代价", 8, ["KV 缓存", "的代价"]),
        ("averyveryverylongword", 8, ["averyver", "yverylon", "gword"]),
        ("a\nb", 8, ["a", "b"]),
        ("", 8, [""]),
    ],
)
def test_wrapping(text, width, rows):
    assert [row.plain for row in wrap(Text(text), width)] == rows


def test_a_label_keeps_its_style_to_itself():
    first, second = hang(Text("what ", "bold"), [Text("one"), Text("two")])
    assert [(s.start, s.end, str(s.style)) for s in first.spans if str(s.style)] == [(0, 5, "bold")]
    assert str(first.style) == ""
    assert second.plain == "     two"


def test_prose_joins_paragraphs_and_hangs_lists():
    rows = [row.plain for row in prose("One\ntwo.\n\n- first item here\n- second\n\nEnd.", 12)]
    assert rows == ["One two.", "- first item", "  here", "- second", "", "End."]


def test_markup_becomes_style():
    text = line("a **b** `c`")
    assert text.plain == "a b c"
    assert {str(s.style) for s in text.spans} == {"bold", "bold dim"}


@pytest.mark.parametrize(("text", "cells", "out"), [("ab", 4, "ab  "), ("缓存", 6, "缓存  "), ("abcdef", 3, "abcdef")])
def test_pad_counts_cells(text, cells, out):
    assert pad(text, cells) == out


def test_keys_of_a_pipe(monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("\nac4\n \n"))
    keys = Keys()
    assert [keys.key() for _ in range(5)] == ["\n", "a", "c", "4", " "]
    with pytest.raises(EOFError):
        keys.key()
