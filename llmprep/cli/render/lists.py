"""Lists of questions, and one question in full."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.text import Text

from llmprep.bank.index import Entry
from llmprep.bank.types import Question
from llmprep.cli import words
from llmprep.cli.context import Context
from llmprep.cli.render import card
from llmprep.cli.render.text import console, hang, line, pad, wrap
from llmprep.content import CLUSTERS, load_yaml
from llmprep.lab.evidence import Evidence
from llmprep.srs.fold import CardState


def show_entries(entries: Sequence[Entry], states: Mapping[str | None, CardState], world: Context) -> None:
    """By cluster: where each card stands, its id and its question."""
    out = console()
    cluster = ""
    code = card.languages(world.lang)[-1]
    for entry in entries:
        if entry.cluster != cluster:
            cluster = entry.cluster
            title = CLUSTERS[cluster].zh if world.ui == "zh" else CLUSTERS[cluster].en
            count = sum(e.cluster == cluster for e in entries)
            out.print(
                Text.assemble(("\n" if entry is not entries[0] else "", ""), (title, "bold"), (f"  {count}", "dim"))
            )
        label = Text.assemble("  ", (_standing(states.get(entry.id), world), "dim"), " ")
        body = [Text(entry.id), *wrap(Text(entry.prompt.pick(code), "dim"), out.width - label.cell_len)]
        for row in hang(label, body):
            out.print(row)


def _standing(state: CardState | None, world: Context) -> str:
    if state is None or not state.reviews:
        return pad(words.say(world.ui, "new"), 8)
    if state.due <= world.today:
        return pad(words.say(world.ui, "due"), 8)
    return pad(words.day(state.due, world.today, world.ui), 8)


def show_found(entries: Sequence[Entry], world: Context) -> None:
    """Search results, best first."""
    out = console()
    code = card.languages(world.lang)[-1]
    for entry in entries:
        cluster = CLUSTERS[entry.cluster]
        out.print(Text.assemble((entry.id, "bold"), (f"  {cluster.zh if world.ui == 'zh' else cluster.en}", "dim")))
        for row in card.indent(wrap(line(entry.prompt.pick(code)), out.width - 2)):
            out.print(row)


def show_question(question: Question, world: Context, evidence: Evidence) -> None:
    """Everything that a question holds."""
    out = console()
    width, ui, lang = out.width, world.ui, world.lang
    cluster = CLUSTERS[question.cluster]
    head = [cluster.zh if ui == "zh" else cluster.en, words.pick(words.LEVELS[question.level], ui)]
    if question.asked:
        head.append(words.say(ui, "asked_in", n=question.asked))
    rows = [Text("  " + "   ".join([question.id, *head]), "dim"), Text("")]
    rows += [*card.prompt(question, lang, width), Text("")]
    for name in card.layers(question):
        rows += [*card.layer(question, name, lang, ui, width), Text("")]
    rows.pop()
    rows += _points(question, lang, ui, width)
    rows += card.evidence(replace(question, sources=()), evidence, lang, ui, width, with_key=False)
    rows += _sources(question, ui, width)
    rows += _pitfalls(question, lang, ui, width)
    rows += _links(question, ui, width)
    for row in rows:
        out.print(row)


def _points(question: Question, lang: str, ui: str, width: int) -> list[Text]:
    if not question.key_points:
        return []
    out = card.section(words.say(ui, "key_points"))
    for point in question.key_points:
        texts = [row for code in card.languages(lang) for row in wrap(line(point.say.pick(code)), width - 6)]
        out += card.indent(hang(Text("● " if point.must else "○ "), texts), 3)
    return out


def _sources(question: Question, ui: str, width: int) -> list[Text]:
    """Each source with its title and address; only the id where data/sources.yaml does not know it."""
    cited = [(c.cite.source, c.cite.where) for c in question.claims if c.cite]
    refs = dict([*reversed(cited), *((s.source, s.where) for s in question.sources)])
    if not refs:
        return []
    known = load_yaml("sources.yaml")
    out = card.section(words.say(ui, "sources"))
    for name, where in refs.items():
        source = known.get(name, {})
        named = ": ".join(t for t in (name, source.get("title")) if t) + (f", {where}" if where else "")
        texts = wrap(Text(named), width - 6) + (wrap(Text(source["url"], "dim"), width - 6) if source else [])
        out += card.indent(hang(Text("· "), texts), 3)
    return out


def _pitfalls(question: Question, lang: str, ui: str, width: int) -> list[Text]:
    if not question.pitfalls:
        return []
    out = card.section(words.say(ui, "pitfalls"))
    for pitfall in question.pitfalls:
        for code in card.languages(lang):
            out += card.indent(hang(Text("✗ ", "red"), wrap(line(pitfall.wrong.pick(code)), width - 6)), 3)
            out += card.indent(hang(Text("✓ ", "green"), wrap(line(pitfall.right.pick(code)), width - 6)), 3)
    return out


def _links(question: Question, ui: str, width: int) -> list[Text]:
    rows = [
        (words.say(ui, "terms"), " · ".join(f"{t.en} {t.zh}" for t in question.terms)),
        (words.say(ui, "needs"), ", ".join(question.needs)),
        (words.say(ui, "follow_ups"), ", ".join(question.follow_ups)),
        (words.say(ui, "demos"), ", ".join(f"llmprep demo run {d}" for d in question.demos)),
    ]
    rows = [(name, text) for name, text in rows if text]
    if not rows:
        return []
    column = max(cell_len(name) for name, _ in rows) + 2
    out = [Text("")]
    for name, text in rows:
        label = Text(pad(name, column), "dim")
        out += card.indent(hang(label, wrap(Text(text), width - column - 2)))
    return out
