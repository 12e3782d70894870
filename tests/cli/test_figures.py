import pytest

from llmprep.cli.render.figures import parse_number, show


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("131072", "B", 131072),
        ("131,072 B", "B", 131072),
        ("128k", "B", 128_000),
        ("8B", "parameters", 8e9),
        ("1.5e6", "", 1.5e6),
        ("40%", "", 0.4),
        ("40％", "", 0.4),
        ("1/4", "", 0.25),
        ("96×", "×", 96),
        ("96x", "×", 96),
        ("26 GB", "GB", 26),
        ("-3", "", -3),
        ("", "", None),
        ("a lot", "", None),
        ("1/0", "", None),
        ("inf", "", None),
        ("nan", "", None),
        ("k", "", None),
    ],
)
def test_numbers_as_people_type_them(text, unit, value):
    assert parse_number(text, unit) == (pytest.approx(value) if value is not None else None)


@pytest.mark.parametrize(
    ("value", "percent", "text"),
    [
        (131072, False, "131,072"),
        (96.125, False, "96.12"),
        (4.0, False, "4"),
        (0.59, True, "59%"),
        (0.0123, True, "1.23%"),
    ],
)
def test_numbers_as_they_are_shown(value, percent, text):
    assert show(value, percent=percent) == text
