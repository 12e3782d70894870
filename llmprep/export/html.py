"""Light Markdown as HTML. Everything that is not markup of ours is escaped."""

from html import escape
from itertools import groupby

from llmprep.bank.prose import Block, blocks, spans

_TAGS = {"bold": "strong", "code": "code"}


def inline(text: str) -> str:
    """One line: `inline("a **b** <s>") == "a <strong>b</strong> &lt;s&gt;"`."""
    out = []
    for span in spans(text):
        body = literal(span.text)
        tag = _TAGS.get(span.style)
        out.append(f"<{tag}>{body}</{tag}>" if tag else body)
    return "".join(out)


def literal(text: str) -> str:
    r"""Text that shows as it is, also in Anki, whose templates, clozes and MathJax read `{{` and `\(`."""
    out = escape(text, quote=True)
    for mark in ("{{", "}}", "\\(", "\\)", "\\[", "\\]"):
        out = out.replace(mark, f"{mark[0]}<!-- -->{mark[1]}")
    return out


def prose(text: str) -> str:
    """Paragraphs, lists and code."""
    out = []
    for (kind, ordered), group in groupby(blocks(text), key=lambda block: (block.kind, block.marker.endswith("."))):
        items = list(group)
        if kind == "item":
            out.append(list_of(items, "ol" if ordered else "ul"))
        elif kind == "code":
            out += [f"<pre>{literal(block.text)}</pre>" for block in items]
        else:
            out += [f"<p>{inline(block.text)}</p>" for block in items]
    return "".join(out)


def list_of(items: list[Block], tag: str) -> str:
    """Blocks as a bulleted or numbered list."""
    return f"<{tag}>" + "".join(f"<li>{inline(block.text)}</li>" for block in items) + f"</{tag}>"
