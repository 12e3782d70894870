"""What a bank must fulfil beyond its types. `strict` is for the built-in bank; drafts of others are held to less."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmprep import content
from llmprep.bank.load import Loaded, Problem, files, load_file
from llmprep.bank.numbers import known_numbers, loose_numbers, stands_in
from llmprep.bank.types import LANGUAGES, LAYERS, Drill, Question
from llmprep.bank.yaml12 import Path as FieldPath
from llmprep.calc import quantities
from llmprep.errors import UserError, did_you_mean
from llmprep.lab import catalog
from llmprep.lab.catalog import DemoInfo
from llmprep.lab.claim import KINDS, Claim, Setting, Settings, fill, placeholders
from llmprep.lab.contract import Text
from llmprep.lab.evidence import Evidence

_ASCII_IN_CHINESE = re.compile(
    r"[\u4e00-\u9fff]\s?[,;:?!()](?!\w*`)|(?<![`\w])[,;:?!()]\s?[\u4e00-\u9fff]|[\u4e00-\u9fff]\.(?!\w)"
)
_CODE = re.compile(r"`[^`]*`")
Report = Callable[..., None]


@dataclass(frozen=True)
class Context:
    """What the questions of a bank may refer to."""

    known_ids: Collection[str]
    known_sources: Collection[str]
    origins: Collection[str]
    evidence: Evidence


def check_bank(folder: Path, evidence: Evidence, *, strict: bool) -> tuple[list[Question], list[Problem]]:
    """Every question that could be read, and every problem of the bank, in file order."""
    loaded: list[Loaded] = []
    problems: list[Problem] = []
    for path in files(folder):
        result = load_file(path)
        if isinstance(result, Loaded):
            loaded.append(result)
        else:
            problems += result
    if not loaded and not problems:
        problems.append(Problem(str(folder), 1, "", "no questions in this folder", "a question is a file ID.yaml"))
    outline = content.load_yaml("outline.yaml")
    context = Context(
        known_ids={q["id"] for q in outline["questions"]} | {item.question.id for item in loaded},
        known_sources=set(content.load_yaml("sources.yaml")),
        origins=set(outline["prefixes"]),
        evidence=evidence,
    )
    for item in loaded:
        problems += _check(item, context, strict=strict)
    problems += _duplicates(loaded)
    problems += _cycles(loaded)
    return [item.question for item in loaded], sorted(problems)


def _check(item: Loaded, context: Context, *, strict: bool) -> list[Problem]:
    problems: list[Problem] = []

    def report(path: FieldPath, message: str, suggestion: str = "") -> None:
        problems.append(item.problem(path, message, suggestion))

    question = item.question
    for i, claim in enumerate(question.claims):
        _check_claim(claim, ("claims", i), context, report)
    for i, drill in enumerate(question.drills):
        _check_drill(drill, ("drills", i), context, report)
    if strict:
        _check_complete(question, report)
        _check_links(question, context, report)
        _check_texts(item, report)
        _check_numbers(question, context, report)
        folder = content.CLUSTERS[question.cluster].folder
        if item.path.parent.name != folder:
            report(("cluster",), f"the file lies in {item.path.parent.name}/", f"move it to {folder}/")
    return problems


def _check_claim(claim: Claim, path: FieldPath, context: Context, report: Report) -> None:
    if claim.cite is not None:
        if claim.demo or claim.expect:
            report(path, "a claim is either measured or cited", "keep demo … or cite")
        if not claim.cite.where:
            report((*path, "cite", "where"), "empty", "name the table, section or equation")
        _check_says(claim.says, path, claim.cite.values, claim.cite.values, report)
        return
    if not claim.demo:
        report(path, "neither demo nor cite", "name the demo that measures it, or the source that says it")
        return
    if claim.kind not in KINDS:
        report((*path, "kind"), f"unknown kind {claim.kind!r}", "one of " + ", ".join(KINDS))
    if not claim.expect:
        report((*path, "expect"), "is missing", "say which fact must have which value")
    if not claim.refuted_by:
        report((*path, "refuted_by"), "is missing", "name a wrong setting under which the claim fails")
    info = _demo(claim.demo, (*path, "demo"), report)
    if info is None:
        return
    names_ok = [_check_settings(getattr(claim, part), (*path, part), info, report) for part in ("set", "refuted_by")]
    run = context.evidence.find(info, claim.set) if all(names_ok) else None
    for i, expectation in enumerate(claim.expect):
        where = (*path, "expect", i)
        bounds = [getattr(expectation, b) for b in ("value", "at_least", "at_most", "between")]
        if sum(b is not None for b in bounds) != 1:
            report(where, "needs exactly one of value, at_least, at_most, between")
        elif isinstance(expectation.value, float) and not (expectation.rtol or expectation.atol):
            report(where, "a value that is no whole number needs a tolerance", "add rtol: or atol:")
        if run and expectation.fact not in run.facts:
            hint = did_you_mean(expectation.fact, run.facts).removeprefix("; ")
            report((*where, "fact"), f"{info.id} reports no {expectation.fact!r}", hint or ", ".join(run.facts))
    known: Mapping[str, Any] = {**catalog.parameters(info), **claim.set, **(run.values if run else {})}
    _check_says(claim.says, path, known, run.values if run else None, report)


def _check_says(
    says: Text, path: FieldPath, known: Mapping[str, Any], values: Mapping[str, Any] | None, report: Report
) -> None:
    """Placeholders must be known; the sentence itself holds no number. Without evidence, facts are not known yet."""
    for lang in LANGUAGES:
        text, where = getattr(says, lang), (*path, "says", lang)
        if not text:
            continue
        try:
            names = placeholders(text)
        except ValueError as error:
            report(where, f"broken placeholder ({error})", "write {name} or {name:.1f}")
            continue
        for number in loose_numbers(re.sub(r"\{[^}]*\}", "x", text), small=0):
            report(where, f"the number {number} is typed in", "take it from the demo: {name}")
        if values is None:
            continue
        for name in names:
            if name not in known:
                report(
                    where, f"{{{name}}} is neither a fact nor a setting", did_you_mean(name, known).removeprefix("; ")
                )
        try:
            fill(text, values)
        except KeyError:
            pass  # reported above
        except ValueError as error:
            report(where, f"broken format ({error})")


def _check_drill(drill: Drill, path: FieldPath, context: Context, report: Report) -> None:
    if drill.calc:
        _check_calc_drill(drill, path, report)
        return
    if not drill.demo or not drill.fact:
        report(path, "neither calc nor demo and fact", "say what the answer is graded against")
        return
    info = _demo(drill.demo, (*path, "demo"), report)
    if info is None:
        return
    if drill.ranges:
        report((*path, "ranges"), "a demo is not measured over a range", "list values in vary, or use calc")
    ok = _check_settings(drill.set, (*path, "set"), info, report)
    ok &= _check_settings(drill.vary, (*path, "vary"), info, report)
    if not drill.vary or any(not values for values in drill.vary.values()):
        report((*path, "vary"), "empty", "list the values to draw from")
        return
    total = 1
    for values in drill.vary.values():
        total *= len(values)
    if total > 12:
        report((*path, "vary"), f"{total} settings", "at most a dozen: each is measured and stored")
    first = {**drill.set, **{name: values[0] for name, values in drill.vary.items()}}
    run = context.evidence.find(info, first) if ok else None
    if run and drill.fact not in run.facts:
        report((*path, "fact"), f"{info.id} reports no {drill.fact!r}", ", ".join(run.facts))
    for lang in LANGUAGES:
        try:
            fill(getattr(drill.ask, lang), {**catalog.parameters(info), **first})
        except KeyError as error:
            report((*path, "ask", lang), f"{{{error.args[0]}}} is no parameter of {info.id}")
        except ValueError as error:
            report((*path, "ask", lang), f"broken placeholder ({error})")


def _check_calc_drill(drill: Drill, path: FieldPath, report: Report) -> None:
    """The calculator must know the quantity, get all its settings, and answer at both ends of each range."""
    try:
        names = quantities.find(drill.calc).names
    except UserError as error:
        report((*path, "calc"), str(error))
        return
    if drill.demo or drill.fact:
        report(path, "a drill is graded by calc or by a demo", "keep calc or demo and fact")
    given = (*drill.set, *drill.vary, *drill.ranges)
    if sorted(given) != sorted(names):
        report(path, f"sets {', '.join(given)}", f"{drill.calc} takes each of {', '.join(names)} once")
        return
    for name, ends in drill.ranges.items():
        if len(ends) != 3 or not 0 < ends[2] <= ends[1] - ends[0]:
            report((*path, "ranges", name), f"{list(ends)} is no range", "lowest, highest, step")
            return
    for end in (0, 1):
        settings = {**drill.set, **{n: v[-end] for n, v in drill.vary.items()}}
        settings |= {n: ends[end] for n, ends in drill.ranges.items()}
        try:
            quantities.answer(drill.calc, settings)
        except (UserError, ValueError, TypeError, ZeroDivisionError, IndexError) as error:
            report((*path, "calc"), f"no answer for {settings}: {error}")
            return
    for lang in LANGUAGES:
        try:
            fill(getattr(drill.ask, lang), settings)
        except (KeyError, ValueError) as error:
            report((*path, "ask", lang), f"broken placeholder ({error})", f"use {{{'}, {'.join(names)}}}")


def _demo(name: str, path: FieldPath, report: Report) -> DemoInfo | None:
    try:
        info = catalog.find(name)
        catalog.parameters(info)
    except UserError as error:
        report(path, str(error))
        return None
    return info


def _check_settings(settings: Mapping[str, Any] | Settings, path: FieldPath, info: DemoInfo, report: Report) -> bool:
    known: Mapping[str, Setting] = catalog.parameters(info)
    for name in settings:
        if name not in known:
            hint = did_you_mean(name, known).removeprefix("; ") or "known: " + ", ".join(known)
            report((*path, name), f"{info.id} has no parameter {name!r}", hint)
    return all(name in known for name in settings)


def _check_complete(question: Question, report: Report) -> None:
    for path, text in _texts(question):
        for lang in LANGUAGES:
            if not getattr(text, lang):
                report((*path, lang), "is missing", f"add {lang}:")
    for name in ("roles", "tags", "origins", "sources", "claims", "pitfalls"):
        if not getattr(question, name):
            report((name,), "is missing or empty", f"add {name}:")
    if not 3 <= len(question.key_points) <= 6:
        report(("key_points",), f"{len(question.key_points)} key points", "three to six")
    if not any(point.must for point in question.key_points):
        report(("key_points",), "none is marked must: true", "mark what a pass needs")
    if not any(claim.demo for claim in question.claims):
        report(("claims",), "none is measured", "let a demo settle at least one")
    if question.asked < 1:
        report(("asked",), "is missing", "in how many of 30 public banks it is asked")


def _texts(question: Question) -> Iterator[tuple[FieldPath, Text]]:
    yield ("prompt",), question.prompt
    for layer in LAYERS:
        yield ("answer", layer), getattr(question.answer, layer)
    for name, parts in (("key_points", ("ask", "say")), ("pitfalls", ("wrong", "right")), ("claims", ("says",))):
        for i, item in enumerate(getattr(question, name)):
            for part in parts:
                yield (name, i, part), getattr(item, part)
    for i, drill in enumerate(question.drills):
        yield ("drills", i, "ask"), drill.ask
    for i, term in enumerate(question.terms):
        yield ("terms", i), term


def _check_links(question: Question, context: Context, report: Report) -> None:
    for name in ("needs", "follow_ups"):
        for i, target in enumerate(getattr(question, name)):
            if target not in context.known_ids:
                report((name, i), f"no question {target!r}", did_you_mean(target, context.known_ids).removeprefix("; "))
    refs: list[tuple[FieldPath, str]] = [(("sources", i), ref.source) for i, ref in enumerate(question.sources)]
    refs += [(("claims", i, "cite"), c.cite.source) for i, c in enumerate(question.claims) if c.cite]
    for path, source in refs:
        if source not in context.known_sources:
            hint = did_you_mean(source, context.known_sources).removeprefix("; ")
            report(path, f"no source {source!r}", hint or "add it to data/sources.yaml")
    for i, origin in enumerate(question.origins):
        if origin.partition(":")[0] not in context.origins:
            report(("origins", i), f"unknown origin {origin!r}", "PREFIX:PLACE, see data/outline.yaml")


def _check_texts(item: Loaded, report: Report) -> None:
    for path, text in _texts(item.question):
        found = _ASCII_IN_CHINESE.search(_CODE.sub("x", text.zh))
        if found:
            report((*path, "zh"), f"half-width punctuation in Chinese: {found.group()!r}", "use ，。；：？！（）")


def _check_numbers(question: Question, context: Context, report: Report) -> None:
    """Each number of the prose must stand in a claim or a source."""
    known = known_numbers(question, context.evidence)
    for path, text in _texts(question):
        if path[0] in ("claims", "drills", "prompt", "terms"):
            continue
        for lang in LANGUAGES:
            for number in loose_numbers(getattr(text, lang)):
                if not stands_in(number, known):
                    report((*path, lang), f"the number {number} stands in no claim and no source", "measure or cite it")


def _duplicates(loaded: Sequence[Loaded]) -> Iterator[Problem]:
    first: dict[str, Loaded] = {}
    for item in loaded:
        other = first.setdefault(item.question.id, item)
        if other is not item:
            yield item.problem(("id",), f"{item.question.id!r} is also the id of {other.path}", "rename one")


def _cycles(loaded: Sequence[Loaded]) -> Iterator[Problem]:
    items = {item.question.id: item for item in loaded}
    state: dict[str, str] = {}

    def visit(key: str, trail: tuple[str, ...]) -> Iterator[Problem]:
        state[key] = "open"
        for need in items[key].question.needs:
            if state.get(need) == "open":
                loop = " → ".join((*trail[trail.index(need) :], need) if need in trail else (key, need))
                yield items[key].problem(("needs",), f"a cycle: {loop}", "drop one of these needs")
            elif need in items and need not in state:
                yield from visit(need, (*trail, need))
        state[key] = "done"

    for key in items:
        if key not in state:
            yield from visit(key, (key,))
