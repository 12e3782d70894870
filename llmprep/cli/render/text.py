"""Text in cells: wrapping that knows wide characters, and light Markdown as styled lines."""

import os
import sys
import unicodedata

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

STYLES = {"": "", "bold": "bold", "code": "bold dim"}
_NO_START = set("，。；：！？、）】》」』”’…—%,.;:!?)]}·")
_NO_END = set("（【《「『“‘([{")
MAX_WIDTH = 100
MIN_WIDTH = 40


def console(*, stderr: bool = False) -> Console:
    """The terminal, no wider than reads well; colours only where they are wanted (NO_COLOR is honoured)."""
    out = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if "COLUMNS" not in os.environ and not (sys.stderr if stderr else sys.stdout).isatty():
        out.width = 80
    out.width = fitting(out.width)
    return out


def fitting(columns: int) -> int:
    """As wide as the terminal, but no wider than reads well."""
    return max(MIN_WIDTH, min(columns, MAX_WIDTH))


def wrap(text: Text, width: int) -> list[Text]:
    """Break a line into lines of at most `width` cells: at spaces, and between wide characters.

    No closing punctuation begins a line and no opening one ends it; a word longer than the line is cut.
    """
    lines: list[Text] = []
    plain = text.plain
    start = 0
    while start < len(plain):
        end, after = _break(plain, start, width)
        lines.append(text[start:end])
        start = after
    return lines or [Text("")]


def _break(plain: str, start: int, width: int) -> tuple[int, int]:
    """Where the line that starts at `start` ends, and where the next one begins."""
    used = 0
    best: tuple[int, int] | None = None
    for i in range(start, len(plain)):
        if plain[i] == "\n":
            return i, i + 1
        used += cell_len(plain[i])
        if used > width:
            break
        if plain[i] == " ":
            best = (i, i + 1)
        elif i + 1 < len(plain) and _breakable(plain[i], plain[i + 1]):
            best = (i + 1, i + 1)
    else:
        return len(plain), len(plain)
    if plain[i] == " ":
        return i, i + 1
    if best is None or best[1] <= start:
        return max(i, start + 1), max(i, start + 1)
    return best


def _breakable(left: str, right: str) -> bool:
    wide = _is_wide(left) or _is_wide(right)
    return wide and left not in _NO_END and right not in _NO_START and right != " "


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in ("W", "F")


def line(text: str, base: str = "") -> Text:
    """One line of light Markdown as rich text."""
    from llmprep.bank.prose import spans

    out = Text(style=base)
    for span in spans(text):
        out.append(span.text, STYLES[span.style])
    return out


def prose(text: str, width: int, base: str = "") -> list[Text]:
    """A text with paragraphs, lists and code as lines of at most `width` cells."""
    from llmprep.bank.prose import blocks

    out: list[Text] = []
    for i, block in enumerate(blocks(text)):
        if i and block.kind == "paragraph":
            out.append(Text(""))
        if block.kind == "code":
            out += [Text("  " + row, "dim") for row in block.text.splitlines()]
        elif block.kind == "item":
            label = block.marker + " "
            out += hang(Text(label), wrap(line(block.text, base), width - len(label)))
        else:
            out += wrap(line(block.text, base), width)
    return out


def hang(label: Text, lines: list[Text]) -> list[Text]:
    """Put a label before the first line and indent the others by its width."""
    indent = " " * label.cell_len
    return [Text().append_text(label if i == 0 else Text(indent)).append_text(row) for i, row in enumerate(lines)]


def pad(text: str, cells: int, align: str = "left") -> str:
    """Fill a text with spaces to a number of cells."""
    gap = max(0, cells - cell_len(text))
    if align == "right":
        return " " * gap + text
    if align == "center":
        return " " * (gap // 2) + text + " " * (gap - gap // 2)
    return text + " " * gap


def bar(value: float, most: float, cells: int) -> str:
    """A bar of at most `cells` cells; anything above zero shows."""
    if most <= 0 or value <= 0:
        return ""
    return "█" * max(1, round(cells * value / most))
