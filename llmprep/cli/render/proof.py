"""What became of the claims."""

from rich.text import Text

from llmprep.cli.render.text import console, hang, wrap
from llmprep.lab.judge import number
from llmprep.lab.verify import Report

MARKS = {"proved": ("✓", "green"), "cited": ("§", "dim"), "refuted": ("✗", "red bold"), "error": ("!", "red bold")}


def show_report(report: Report, *, full: bool) -> None:
    """What failed, or with `full` every claim; then the counts."""
    out = console()
    for judged in report.judged:
        status = judged.verdict.status
        if status in ("proved", "cited") and not full:
            continue
        mark, style = MARKS[status]
        asked = judged.asked
        text = f"{asked.question}[{asked.index}] {status}"
        if judged.verdict.reason:
            text += f": {judged.verdict.reason}"
        elif asked.claim.demo:
            wrong = ", ".join(f"{k}={v}" for k, v in asked.claim.refuted_by.items())
            got = ", ".join(f"{k} = {number(v)}" for k, v in judged.verdict.measured.items())
            refuting = ", ".join(number(v) for v in judged.verdict.refuting.values())
            text += f": {got} ({asked.claim.demo}); with {wrong}: {refuting}"
        elif asked.claim.cite:
            text += f": {asked.claim.cite.source}, {asked.claim.cite.where}"
        for row in hang(Text(f"{mark} ", style), wrap(Text(text), out.width - 2)):
            out.print(row)
    counts = ", ".join(f"{report.count(s)} {s}" for s in ("proved", "cited", "refuted", "error"))
    ran = f"{report.runs} demo run{'s' * (report.runs != 1)}" if report.runs else "from stored evidence"
    out.print(Text(f"{counts}  ({ran}, {report.seconds:.1f} s)", "bold"))
    for path in report.written:
        out.print(Text(f"wrote {path}", "dim"))
