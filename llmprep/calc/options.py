"""Options of the calc commands: what is refused, in words that name the option."""

from collections.abc import Iterable
from math import isfinite

from llmprep.calc.shapes import Shape
from llmprep.errors import UserError, did_you_mean

MOST = 10**12  # of anything that is counted: more is a slip of the keyboard
TOKENS = 8192  # of a sequence where none are asked for


def at_least(option: str, value: int, least: int = 1) -> int:
    """`value`, if it is a whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{option} must be at least {least}, not {value}")
    if value > MOST:
        raise UserError(f"{option} must be at most {MOST:,}")
    return value


def amount(option: str, value: float, most: float) -> float:
    """`value`, if it is above 0 and not absurd."""
    if not 0 < value <= most:
        raise UserError(f"{option} must be above 0 and at most {most:g}, not {value:g}")
    return value


def share(option: str, value: float) -> float:
    """`value`, if it is above 0 and at most 1."""
    if not 0.001 <= value <= 1:
        raise UserError(f"{option} must be at least 0.001 and at most 1, not {value:g}")
    return value


def between(option: str, low_high: tuple[float, float]) -> tuple[float, float]:
    """Two positive numbers in order."""
    low, high = low_high
    if not (isfinite(low) and isfinite(high) and 0 < low <= high):
        raise UserError(f"{option} must be two positive numbers, the smaller one first, not {low:g} and {high:g}")
    return low_high


def known(option: str, word: str, what: str, names: Iterable[str]) -> str:
    """`word`, if it is one of `names`; else an error that lists them and guesses which was meant."""
    names = list(names)
    if word in names:
        return word
    longer = next((name for name in names if word and name.startswith(word.lower())), None)
    hint = f"; did you mean {longer!r}?" if longer else did_you_mean(word, names)
    raise UserError(f"{option} {word}: unknown {what}{hint} (known: {', '.join(names)})")


def tokens(option: str, value: int | None, shape: Shape, default: int = TOKENS) -> int:
    """A number of tokens; without one, `default` or as many as the model was trained for if that is fewer."""
    return min(default, shape.context or default) if value is None else at_least(option, value)
