import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep import content
from llmprep.bank.index import open_bank
from llmprep.bank.types import Answer, Question
from llmprep.content import Text
from llmprep.export.table import COLUMNS, TEXT_COLUMNS, guard, table

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def read(data):
    assert data.startswith(b"\xef\xbb\xbf"), "Excel needs the byte-order mark to see UTF-8"
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize(("lang", "codes"), [("en", ["en"]), ("zh", ["zh"]), ("both", ["en", "zh"])])
def test_every_question_is_a_row_and_every_column_is_named(tmp_path, stored, lang, codes):
    bank = open_bank(content.questions_dir(), tmp_path)
    questions = list(bank.questions())
    bank.close()
    rows = read(table(questions, stored, lang=lang, bank="", now=NOW))
    assert [row["key"] for row in rows] == [q.id for q in questions]
    assert list(rows[0]) == [*COLUMNS, *(f"{name}_{code}" for code in codes for name in TEXT_COLUMNS)]
    assert all(row[f"question_{code}"] for row in rows for code in codes)
    kv = next(row for row in rows if row["key"] == "kv-cache")
    assert "131,072 B" in kv[f"evidence_{codes[0]}"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=80))
def test_no_cell_starts_a_formula_and_nothing_is_lost(text):
    guarded = guard(text)
    assert not guarded.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert guarded.removeprefix("'") == text.removeprefix("'") or guarded == text


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "  +1"])
def test_formulas_are_guarded(cell):
    assert guard(cell) == "'" + cell


def test_a_prompt_that_is_a_formula(stored):
    q = Question("x", "inference", Text('=HYPERLINK("http://x")'), Answer(Text('a "b", c\nd')))
    (row,) = read(table([q], stored, lang="en", bank="", now=NOW))
    assert row["question_en"] == '\'=HYPERLINK("http://x")'
    assert row["what_en"] == 'a "b", c d'


def test_lists_keep_their_marks(stored):
    from llmprep.export.html import prose

    text = "Two ways:\n1. this **one**\n2. that\n\n- and"
    (row,) = read(
        table([Question("x", "inference", Text("q?"), Answer(Text(text)))], stored, lang="en", bank="", now=NOW)
    )
    assert row["what_en"] == "Two ways:\n1. this one\n2. that\n· and"
    assert prose(text) == (
        "<p>Two ways:</p><ol><li>this <strong>one</strong></li><li>that</li></ol><ul><li>and</li></ul>"
    )
