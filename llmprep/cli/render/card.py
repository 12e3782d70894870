"""One card: question, layers, evidence, key points, grades."""

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date

from rich.cells import cell_len
from rich.console import Group
from rich.text import Text

from llmprep.bank.types import LAYERS, KeyPoint, Question
from llmprep.cli import words
from llmprep.cli.render.text import hang, line, pad, prose, wrap
from llmprep.content import CLUSTERS
from llmprep.errors import UserError
from llmprep.lab import catalog
from llmprep.lab.claim import Claim, fill
from llmprep.lab.contract import Text as Bilingual
from llmprep.lab.evidence import Evidence
from llmprep.study.session import Outcome, Turn

LABEL = 7
MARGIN = 2


def languages(lang: str) -> tuple[str, ...]:
    """The languages to show content in."""
    return ("en", "zh") if lang == "both" else (lang,)


def primary(lang: str, ui: str) -> str:
    """The one language for places that have room for one."""
    return ui if lang == "both" else lang


def header(turn: Turn, ui: str) -> Text:
    """`7/20  inference  core  due 2 d ago  ~9 min left`."""
    cluster = CLUSTERS[turn.question.cluster]
    minutes = max(1, round(turn.seconds_left / 60))
    parts = [
        (f"{turn.position}/{turn.total}", "bold"),
        (cluster.zh if ui == "zh" else cluster.en, ""),
        (words.pick(words.LEVELS[turn.question.level], ui), ""),
        (why_asked(turn, ui), "bold" if turn.days_overdue else ""),
        (words.say(ui, "left", n=minutes), "dim"),
    ]
    out = Text(" ")
    for i, (text, style) in enumerate(parts):
        out.append("   " if i else "")
        out.append(text, style)
    return out


def why_asked(turn: Turn, ui: str) -> str:
    """Why this card comes now."""
    if turn.role == "new":
        return words.say(ui, "new")
    if turn.role == "drill":
        return words.say(ui, "again")
    if turn.role == "practice":
        return words.say(ui, "practice")
    if turn.days_overdue:
        return words.say(ui, "due_days", n=turn.days_overdue)
    return words.say(ui, "due_today")


def prompt(question: Question, lang: str, width: int) -> list[Text]:
    """The question itself, and for a partial repetition only what was missed."""
    out = []
    for code in languages(lang):
        out += indent(wrap(line(question.prompt.pick(code), "bold"), width - 2 * MARGIN))
    return out


def probes(points: Iterable[KeyPoint], lang: str, ui: str, width: int) -> list[Text]:
    """The questions behind the points that were missed; a draft that has none just says how many."""
    asks = [point.ask.pick(primary(lang, ui)) for point in points]
    if not all(asks):
        return indent([Text("· " + words.say(ui, "missed_n", n=len(asks)))])
    return [row for text in asks for row in indent(hang(Text("· "), wrap(line(text), width - 2 * MARGIN - 2)))]


def layer(question: Question, name: str, lang: str, ui: str, width: int) -> list[Text]:
    """One layer of the answer with its label in the margin."""
    text: Bilingual = getattr(question.answer, name)
    out: list[Text] = []
    for code in languages(lang):
        rows = prose(text.pick(code), width - LABEL - 1)
        label = Text(pad(words.pick(words.LAYERS[name], ui), LABEL), "bold")
        out += hang(label if not out else Text(" " * LABEL), rows)
    return out


def layers(question: Question) -> list[str]:
    """The layers that this question has (a draft may have one)."""
    return [name for name in LAYERS if any(getattr(question.answer, name))]


def section(title: str) -> list[Text]:
    """A blank line and a heading."""
    return [Text(""), Text(" " * MARGIN) + Text(title, "bold")]


def evidence(question: Question, stored: Evidence, lang: str, ui: str, width: int, *, with_key: bool) -> list[Text]:
    """The claims with their measured numbers, and the sources below."""
    out = section(words.say(ui, "measured"))
    if not question.claims:
        return out + indent([Text(words.say(ui, "unmeasured"), "dim")], MARGIN + 1)
    if question.demos:
        text = words.say(ui, "runs_it", demo=question.demos[0]) if with_key else question.demos[0]
        out[-1].append("   " + text, "dim")
    for claim in question.claims:
        out += claim_lines(claim, stored, lang, ui, width)
    if question.sources:
        refs = "; ".join(f"{s.source} ({s.where})" if s.where else s.source for s in question.sources)
        label = Text(words.say(ui, "sources") + "  ", "dim")
        out += [Text(""), *indent(hang(label, wrap(Text(refs, "dim"), width - label.cell_len - 2 * MARGIN)))]
    return out


def claim_lines(claim: Claim, stored: Evidence, lang: str, ui: str, width: int) -> list[Text]:
    """`✓ Llama-3-8B stores 131,072 B per token.  arithmetic`."""
    mark, values = "✓", None
    if claim.cite:
        mark, values = "§", dict(claim.cite.values)
        note = f"{words.say(ui, 'cited')}{'：' if ui == 'zh' else ': '}{claim.cite.source}, {claim.cite.where}"
    else:
        note = words.pick(words.KINDS.get(claim.kind, (claim.kind, claim.kind)), ui)
        try:
            run = stored.find(catalog.find(claim.demo), claim.set)
        except UserError:
            run = None
        if run:
            values = run.values
        else:
            mark, note = "·", f"{note} · {words.say(ui, 'not_recorded')}"
    sentences = []
    for code in languages(lang):
        template = claim.says.pick(code)
        sentences.append(fill(template, values) if values is not None else re.sub(r"\{[^}]*\}", "…", template))
    rows: list[Text] = []
    for i, sentence in enumerate(sentences):
        text = line(sentence)
        if i == len(sentences) - 1:
            text.append(f"  {note}", "dim")
        rows += wrap(text, width - 2 * MARGIN - 3)
    return indent(hang(Text(mark + " ", "green" if mark == "✓" else "dim"), rows), MARGIN + 1)


def checklist(
    points: tuple[KeyPoint, ...], ticked: Collection[str], lang: str, ui: str, width: int, *, short: bool = False
) -> list[Text]:
    """The key points with their letters; a must point is bold. `short` gives each a single line."""
    out = section(words.say(ui, "said_it"))[1 if short else 0 :]
    for letter, point in zip("abcdef", points, strict=False):
        box = "■" if point.id in ticked else "□"
        label = Text.assemble((f"{letter} ", "bold"), (f"{box} ", "green" if point.id in ticked else ""))
        rows = wrap(line(point.say.pick(primary(lang, ui)), "bold" if point.must else ""), width - 2 * MARGIN - 6)
        out += indent(hang(label, rows[:1] if short else rows), MARGIN + 1)
    return out


def grades(outcomes: Mapping[int, Outcome], suggested: int, today: date, ui: str, width: int) -> list[Text]:
    """Six columns: digit, meaning, the date it leads to; the suggested one is underlined and marked."""
    column = (width - 2) // 6
    rows = [Text(" "), Text(" "), Text(" ")]
    for grade, outcome in outcomes.items():
        chosen = grade == suggested
        when = words.day(outcome.due, today, ui)
        if cell_len(f"↻ {when}") >= column:  # a narrow screen
            when = f"{outcome.due.month}-{outcome.due.day}"
        cells = (
            f"›{grade}‹" if chosen else str(grade),
            words.pick(words.GRADES[grade], ui),
            f"↻ {when}" if outcome.again_today else when,
        )
        for row, text, style in zip(rows, cells, ("bold", "underline bold" if chosen else "", "dim"), strict=True):
            gap = max(0, column - cell_len(text))
            row.append(" " * (gap // 2))
            row.append(text, style)
            row.append(" " * (gap - gap // 2))
    return rows


def rule(width: int) -> Text:
    """A quiet line across."""
    return Text("─" * width, "dim")


def indent(rows: Iterable[Text], cells: int = MARGIN) -> list[Text]:
    """Move lines to the right."""
    return [Text(" " * cells) + row for row in rows]


def group(rows: Iterable[Text]) -> Group:
    """Lines as one renderable."""
    return Group(*rows)
