"""What every sheet owes its reader."""

import json
import re
from math import isclose, isfinite

import pytest

CHINESE = re.compile(r"[一-鿿]")
ASCII_PUNCTUATION = re.compile(r"[一-鿿][,;:!?()]|[,;:!?(][一-鿿]")


def rows(sheet):
    for section in sheet.sections:
        yield from section.rows
        yield from section.detail
        if section.total:
            yield section.total
    yield from sheet.summary


def texts(sheet):
    yield sheet.title
    yield from (section.title for section in sheet.sections)
    yield from (row.label for row in rows(sheet))
    yield from (verdict.text for verdict in sheet.verdicts)
    yield from sheet.reasons
    yield from sheet.assumptions


def keep_contract(sheet):
    """Parts add up to their totals, ranges are in order, both languages speak, and --json takes the data."""
    for section in sheet.sections:
        if section.total:
            parts = sum(row.value for row in section.rows)
            assert isclose(parts, section.total.value, rel_tol=1e-9, abs_tol=1e-6), (section.title, parts)
    for row in rows(sheet):
        assert isfinite(row.value), row
        assert row.value >= 0, row
        assert row.high is None or row.high >= row.value, row
        assert not CHINESE.search(row.formula), row
    for text in texts(sheet):
        assert text.en, text
        assert text.zh, text
        assert not CHINESE.search(text.en), text
        assert not ASCII_PUNCTUATION.search(text.zh), text
    for text in (*sheet.reasons, *sheet.assumptions, *(v.text for v in sheet.verdicts)):
        assert CHINESE.search(text.zh), text
    assert json.loads(json.dumps(sheet.data))["model"] == sheet.subject
    labels = [row.label.en for row in sheet.summary]
    assert len(labels) == len(set(labels))


@pytest.fixture
def check():
    """`check(sheet)`."""
    return keep_contract
