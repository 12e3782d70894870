"""What every export takes from a question: texts in the languages asked for, and claims with their numbers."""

from dataclasses import dataclass

from llmprep.bank.types import Question
from llmprep.errors import UserError
from llmprep.lab import catalog
from llmprep.lab.claim import fill
from llmprep.lab.contract import Text
from llmprep.lab.evidence import Evidence

LABELS = {
    "what": Text("What it is", "现象"),
    "why": Text("Why it is so", "本质"),
    "how": Text("How it is used", "实战"),
    "points": Text("Key points", "要点"),
    "evidence": Text("Measured", "实测"),
    "pitfalls": Text("Often said, and wrong", "常见误答"),
    "sources": Text("Sources", "出处"),
    "follow_ups": Text("Asked next", "常见追问"),
    "terms": Text("Terms", "术语"),
    "unmeasured": Text("unmeasured", "未实测"),
    "cited": Text("cited", "引用"),
    "arithmetic": Text("arithmetic", "算术"),
    "parity": Text("parity with a reference", "与参考实现对照"),
    "experiment": Text("experiment", "实验"),
    "simulation": Text("simulation", "模拟"),
}


@dataclass(frozen=True)
class Proof:
    """A claim as a sentence, and what stands behind it: a kind of measurement, or a citation."""

    status: str
    sentence: str
    note: str


def languages(lang: str) -> tuple[str, ...]:
    """The languages that an export holds."""
    return ("en", "zh") if lang == "both" else (lang,)


def label(name: str, lang: str) -> str:
    """A heading in one language."""
    return LABELS[name].pick(lang)


def proofs(question: Question, evidence: Evidence, lang: str) -> list[Proof]:
    """The claims of a question in one language, their numbers filled in from stored evidence."""
    out = []
    for claim in question.claims:
        template = claim.says.pick(lang)
        if claim.cite:
            note = f"{label('cited', lang)}{'：' if lang == 'zh' else ': '}{claim.cite.source}, {claim.cite.where}"
            out.append(Proof("cited", fill(template, claim.cite.values), note))
            continue
        try:
            run = evidence.find(catalog.find(claim.demo), claim.set)
        except UserError:
            run = None
        if run:
            kind = label(claim.kind, lang) if claim.kind in LABELS else claim.kind
            out.append(Proof("measured", fill(template, run.values), f"{kind} · {claim.demo}"))
        else:
            out.append(Proof("unmeasured", template, label("unmeasured", lang)))
    return out
