"""An Anki package: a deck a cluster, a note a question, ids that never change.

Importing a later export updates the notes and keeps their scheduling: guid, deck and note type are derived from names,
and Anki takes over whatever carries a newer modification time.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from llmprep.bank.types import LAYERS, Question
from llmprep.content import CLUSTERS
from llmprep.export.content import label, languages, proofs
from llmprep.export.html import inline, literal, prose
from llmprep.lab.evidence import Evidence

# The fields of a note, in order. A new field under the same note type would make later updates conflict, so there are
# spare ones; each change of meaning takes a spare, never a rename.
FIELDS = ("Key", "Question", "Meta", "Answer", "Points", "Evidence", "Pitfalls", "Links")
SPARE_FIELDS = tuple(f"Spare {i}" for i in range(1, 9))
NOTE_TYPE = "llmprep question"

FRONT = """<div class="llmprep"><div class="meta">{{Meta}}</div><div class="question">{{Question}}</div></div>"""
BACK = """<div class="llmprep"><div class="meta">{{Meta}}</div><div class="question">{{Question}}</div><hr id="answer">
{{Answer}}{{Points}}{{Evidence}}{{Pitfalls}}<div class="links">{{Links}}</div></div>"""


def package(questions: Sequence[Question], evidence: Evidence, *, lang: str, bank: str, now: datetime) -> bytes:
    """The bytes of an .apkg. `bank` is empty for the built-in one; `now` dates the notes, to the second."""
    import genanki

    model = genanki.Model(
        _number("note type", NOTE_TYPE),
        NOTE_TYPE,
        fields=[{"name": name} for name in (*FIELDS, *SPARE_FIELDS)],
        templates=[{"name": "Question", "qfmt": FRONT, "afmt": BACK}],
        css=(Path(__file__).parent / "anki.css").read_text(encoding="utf-8"),
        sort_field_index=0,
    )
    decks: dict[str, genanki.Deck] = {}
    for question in questions:
        name = deck_name(question, bank)
        deck = decks.setdefault(name, genanki.Deck(_number("deck", name), name))
        deck.add_note(
            genanki.Note(
                model=model,
                fields=[*fields(question, evidence, lang, bank), *("" for _ in SPARE_FIELDS)],
                tags=tags(question),
                guid=guid(question, bank),
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "llmprep.apkg"
        genanki.Package(list(decks.values())).write_to_file(str(path), timestamp=int(now.timestamp()))
        return path.read_bytes()


def guid(question: Question, bank: str) -> str:
    """The identity of a note: the question's id and its bank, whatever its text or language."""
    return hashlib.sha256(f"llmprep\n{bank}\n{question.id}".encode()).hexdigest()[:20]


def deck_name(question: Question, bank: str) -> str:
    """`llmprep::03 inference`, or `my-bank::03 inference` for an added bank."""
    cluster = CLUSTERS[question.cluster]
    return f"{bank or 'llmprep'}::{cluster.number:02d} {cluster.id}"


def tags(question: Question) -> list[str]:
    """Cluster, level, roles and topics, as Anki's hierarchical tags."""
    found = [f"cluster::{question.cluster}", f"level::{question.level}"]
    found += [f"role::{role}" for role in question.roles]
    found += [f"topic::{tag}" for tag in question.tags]
    return ["llmprep::" + "-".join(tag.split()) for tag in found]


def fields(question: Question, evidence: Evidence, lang: str, bank: str) -> list[str]:
    """The contents of FIELDS as HTML."""
    codes = languages(lang)
    cluster = CLUSTERS[question.cluster]
    meta = " · ".join([cluster.zh if codes[0] == "zh" else cluster.en, question.level])
    return [
        literal(f"{bank}/{question.id}" if bank else question.id),
        "".join(f'<div lang="{c}">{inline(question.prompt.pick(c))}</div>' for c in codes),
        literal(meta),
        "".join(_layer(question, name, codes) for name in LAYERS),
        "".join(_section("points", c, _points(question, c)) for c in codes),
        "".join(_section("evidence", c, _evidence(question, evidence, c)) for c in codes),
        "".join(_section("pitfalls", c, _pitfalls(question, c)) for c in codes),
        _links(question, codes[0]),
    ]


def _layer(question: Question, name: str, codes: Sequence[str]) -> str:
    texts = [(c, getattr(question.answer, name).pick(c)) for c in codes]
    return "".join(_section(name, c, prose(text)) for c, text in texts if text)


def _section(name: str, lang: str, body: str) -> str:
    if not body:
        return ""
    return f'<section class="{name}" lang="{lang}"><h2>{literal(label(name, lang))}</h2>{body}</section>'


def _points(question: Question, lang: str) -> str:
    rows = [
        f'<li class="{"must" if point.must else "may"}">{inline(point.say.pick(lang))}</li>'
        for point in question.key_points
    ]
    return f"<ul>{''.join(rows)}</ul>" if rows else ""


def _evidence(question: Question, evidence: Evidence, lang: str) -> str:
    rows = [
        f'<li class="{p.status}">{inline(p.sentence)} <span class="kind">{literal(p.note)}</span></li>'
        for p in proofs(question, evidence, lang)
    ]
    return f"<ul>{''.join(rows)}</ul>" if rows else f'<p class="kind">{literal(label("unmeasured", lang))}</p>'


def _pitfalls(question: Question, lang: str) -> str:
    return "".join(
        f'<p class="wrong">{inline(p.wrong.pick(lang))}</p><p class="right">{inline(p.right.pick(lang))}</p>'
        for p in question.pitfalls
    )


def _links(question: Question, lang: str) -> str:
    rows = [
        ("terms", " · ".join(f"{t.en} {t.zh}".strip() for t in question.terms)),
        ("follow_ups", ", ".join(question.follow_ups)),
        ("sources", "; ".join(f"{s.source} ({s.where})" if s.where else s.source for s in question.sources)),
    ]
    return "".join(f"<p><b>{literal(label(name, lang))}</b> {literal(text)}</p>" for name, text in rows if text)


def _number(kind: str, name: str) -> int:
    """A stable id as Anki likes them: a positive number below 2^31 that a name decides."""
    digest = hashlib.sha256(f"llmprep {kind}\n{name}".encode()).digest()
    return (1 << 30) + int.from_bytes(digest[:4]) % (1 << 30)
