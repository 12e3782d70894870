"""How text is cut for full-text search: English by words, Chinese by characters."""

import re

_CJK = re.compile(r"([\u3400-\u4dbf\u4e00-\u9fff])")
_TERM = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+|[^\W_]+", re.UNICODE)


def split(text: str) -> str:
    """Put spaces around each Chinese character, so that FTS5 sees it as a word: "KV缓存" → "KV 缓 存"."""
    return " ".join(_CJK.sub(r" \1 ", text).split())


def match_expression(words: str) -> str:
    """An FTS5 expression that finds all the words (the last one also as a prefix); "" where there is nothing to find.

    A run of Chinese characters is a phrase: `match_expression("kv 缓存") == '"kv" AND "缓 存"'`.
    """
    terms = [f'"{split(term)}"' for term in _TERM.findall(words)]
    if terms and words[-1:].isascii() and words[-1:].isalnum():
        terms[-1] += "*"
    return " AND ".join(terms)
