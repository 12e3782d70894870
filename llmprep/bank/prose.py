"""Light Markdown as questions use it: paragraphs, lists, code blocks; bold and code inside a line."""

import re
from typing import Literal, NamedTuple

# Compiled where they are used: the first card needs only one of them.
_WIDE = r"[\u2e80-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef“”‘’…—]"
_CJK_PUNCTUATION = r"[\u3000-\u303f\uff00-\uff0f\uff1a-\uff20“”‘’…—]"
_ITEM = r"\s*([-*]|\d+\.)\s+"
_INLINE = r"`([^`]+)`|\*\*([^*]+)\*\*"


class Block(NamedTuple):
    """A paragraph, a list item with its marker ("-", "2.") or a code block; only code has line breaks."""

    kind: Literal["paragraph", "item", "code"]
    text: str
    marker: str = ""


class Span(NamedTuple):
    """A run of text in one style: "", "bold" or "code"."""

    style: str
    text: str


def blocks(text: str) -> list[Block]:
    """Cut a text into blocks; lines of a paragraph are joined, in Chinese without a space between characters."""
    out: list[Block] = []
    lines = iter(text.strip().splitlines())
    open_kind = ""
    for line in lines:
        if line.lstrip().startswith("```"):
            code = []
            for inner in lines:
                if inner.lstrip().startswith("```"):
                    break
                code.append(inner)
            out.append(Block("code", "\n".join(code)))
            open_kind = ""
        elif not line.strip():
            open_kind = ""
        elif item := re.match(_ITEM, line):
            out.append(Block("item", line[item.end() :].strip(), item[1].replace("*", "-")))
            open_kind = "item"
        elif open_kind:
            out[-1] = out[-1]._replace(text=join(out[-1].text, line.strip()))
        else:
            out.append(Block("paragraph", line.strip()))
            open_kind = "paragraph"
    return out


def join(left: str, right: str) -> str:
    """Two lines of a paragraph as one: `join("显存", "带宽") == "显存带宽"`, `join("个", "token") == "个 token"`."""
    if not left or not right:
        return left + right
    before, after = left[-1], right[0]
    both_wide = re.match(_WIDE, before) and re.match(_WIDE, after)
    punctuated = re.match(_CJK_PUNCTUATION, before) or re.match(_CJK_PUNCTUATION, after)
    return left + right if both_wide or punctuated else f"{left} {right}"


def spans(text: str) -> list[Span]:
    """A line as styled runs: `spans("a **b**") == [("", "a "), ("bold", "b")]`."""
    out = []
    end = 0
    for match in re.finditer(_INLINE, text):
        if match.start() > end:
            out.append(Span("", text[end : match.start()]))
        code, bold = match.groups()
        out.append(Span("code", code) if code else Span("bold", bold))
        end = match.end()
    if end < len(text):
        out.append(Span("", text[end:]))
    return out


def plain(text: str) -> str:
    """A text as one line without markup, for places that show neither."""
    return " ".join("".join(s.text for s in spans(b.text)) for b in blocks(text))
