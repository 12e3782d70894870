import pytest

from llmprep.lab.claim import Expectation, fill, placeholders


@pytest.mark.parametrize(
    ("expectation", "holds", "fails"),
    [
        (Expectation("f", value=4), [4, 4.0], [3, 5, 4.0001]),
        (Expectation("f", value=4.0, rtol=0.1), [3.61, 4.39], [3.59, 4.41]),
        (Expectation("f", value=-4.0, rtol=0.1), [-3.61, -4.39], [4, -4.41]),
        (Expectation("f", value=0.0, atol=0.1), [0.1, -0.1], [0.11]),
        (Expectation("f", at_least=2), [2, 3], [1.99]),
        (Expectation("f", at_most=2), [2, 1], [2.01]),
        (Expectation("f", between=(1, 2)), [1, 1.5, 2], [0.99, 2.01]),
        (Expectation("f"), [], [0, 1]),
    ],
)
def test_expectations(expectation, holds, fails):
    assert all(expectation.holds(x) for x in holds)
    assert not any(expectation.holds(x) for x in fails)


@pytest.mark.parametrize("expectation", [Expectation("f", value=float("nan"), rtol=1.0), Expectation("f", at_least=1)])
def test_nothing_holds_for_nan(expectation):
    assert not expectation.holds(float("nan"))


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("{a} B", {"a": 131072}, "131,072 B"),
        ("{a:.1f}×", {"a": 2.04}, "2.0×"),
        ("{a:.0%}", {"a": 0.59}, "59%"),
        ("{a:g}", {"a": 4.0}, "4"),
        ("{model}", {"model": "llama-3-8b"}, "llama-3-8b"),
        ("{flag}", {"flag": True}, "True"),
        ("{{x}}", {}, "{x}"),
    ],
)
def test_sentences_take_their_numbers_from_values(template, values, text):
    assert fill(template, values) == text


@pytest.mark.parametrize("template", ["{a.b}", "{a[0]}", "{0}", "{a!r}", "{", "{a:zz}"])
def test_sentences_understand_only_plain_names(template):
    with pytest.raises(ValueError, match=r"."):
        fill(template, {"a": 1})


def test_placeholders():
    assert placeholders("{a:.1f} of {b} and {{c}}") == ["a", "b"]
