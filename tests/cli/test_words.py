from datetime import date

import pytest

from llmprep.cli import words


@pytest.mark.parametrize(
    ("when", "en", "zh"),
    [
        (date(2026, 12, 31), "31 Dec", "12月31日"),
        (date(2027, 1, 3), "3 Jan", "1月3日"),
        (date(2026, 12, 1), "1 Dec", "12月1日"),
        (date(2028, 1, 3), "3 Jan 2028", "2028年1月3日"),
        (date(2025, 1, 3), "3 Jan 2025", "2025年1月3日"),
    ],
)
def test_dates_name_the_day_also_across_the_year(when, en, zh):
    today = date(2026, 12, 28)
    assert words.day(when, today, "en") == en
    assert words.day(when, today, "zh") == zh


def test_both_languages_take_the_same_values():
    import string

    for phrase, texts in words._WORDS.items():
        names = [{n for _, n, _, _ in string.Formatter().parse(text) if n} for text in texts]
        assert names[0] == names[1], phrase


@pytest.mark.parametrize(("n", "en", "zh"), [(1, "1 card", "1 张"), (0, "0 cards", "0 张"), (3, "3 cards", "3 张")])
def test_cards(n, en, zh):
    assert (words.cards(n, "en"), words.cards(n, "zh")) == (en, zh)
