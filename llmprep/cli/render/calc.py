"""A sheet of the calculator: parts with bars, verdicts, reasons, and several models side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from llmprep.calc import units
from llmprep.calc.sheets import Row, Section, Sheet
from llmprep.cli import words
from llmprep.cli.render.text import bar, console, hang, pad, wrap

BAR_CELLS = 24
FORMULA_CELLS = 30  # a formula with less room beside its number goes below it
INDENT = 2
PEAKS = ("bf16", "fp16", "fp32")


def show_sheet(sheet: Sheet, ui: str, *, explain: bool = False) -> None:
    """One model: every section, then what fits, why, and what the numbers rest on."""
    out = console()
    out.print(Text(" " * INDENT + sheet.title.pick(ui), "bold"))
    for section in sheet.sections:
        out.print()
        _section(out, section, ui, explain=explain)
    if sheet.verdicts:
        out.print()
    for verdict in sheet.verdicts:
        mark, style = ("✓", "green") if verdict.ok else ("✗", "red")
        _hang(out, f"{mark} ", style, verdict.text.pick(ui))
    if sheet.reasons:
        out.print()
    for reason in sheet.reasons:
        _hang(out, "→ ", "bold", reason.pick(ui))
    if sheet.assumptions:
        out.print()
        _hang(out, "", "", words.say(ui, "calc_assumes"), "dim")
    for assumption in sheet.assumptions:
        _hang(out, "· ", "dim", assumption.pick(ui), "dim")
    if not explain and any(s.detail or any(r.formula for r in s.rows) for s in sheet.sections):
        out.print()
        _hang(out, "", "", words.say(ui, "calc_explain"), "dim")


def show_comparison(sheets: Sequence[Sheet], ui: str) -> None:
    """Several models: a column each, or a block each where the terminal is too narrow for columns."""
    out = console()
    labels = list(dict.fromkeys(row.label.pick(ui) for sheet in sheets for row in sheet.summary))
    cells = [{row.label.pick(ui): quantity(row, ui, compact=True) for row in sheet.summary} for sheet in sheets]
    first = max(cell_len(label) for label in labels)
    widths = [
        max(cell_len(sheet.subject), *(cell_len(c) for c in column.values()))
        for sheet, column in zip(sheets, cells, strict=True)
    ]
    if INDENT + first + sum(w + 2 for w in widths) > out.width:
        for sheet, column in zip(sheets, cells, strict=True):
            out.print(Text(" " * INDENT + sheet.subject, "bold"))
            for label, cell in column.items():
                out.print(Text.assemble(" " * 2 * INDENT, (pad(label, first), "dim"), "  ", cell))
        return
    heads = "".join("  " + pad(s.subject, w, "right") for s, w in zip(sheets, widths, strict=True))
    out.print(Text(" " * (INDENT + first) + heads, "bold"))
    for label in labels:
        row = "".join("  " + pad(c.get(label, "—"), w, "right") for c, w in zip(cells, widths, strict=True))
        out.print(Text.assemble(" " * INDENT, (pad(label, first), "dim"), row))


def show_known(models: Sequence[Mapping[str, Any]], hardware: Sequence[Mapping[str, Any]]) -> None:
    """Every model with its size, every GPU with its memory, bandwidth and dense peak."""
    out = console()
    first = max(len(entry["name"]) for entry in (*models, *hardware))
    for entry in models:
        out.print(Text.assemble("  ", pad(entry["name"], first), (f"  {entry['params_total']:>19,}", "dim")))
    out.print()
    for entry in hardware:
        peak = next(
            (f"{kind} {units.si(entry['flops'][kind], 'FLOP/s')}" for kind in PEAKS if kind in entry["flops"]), ""
        )
        figures = f"  {units.si(entry['memory'], 'B'):>8}  {units.si(entry['bandwidth'], 'B/s'):>9}  {peak}"
        out.print(Text.assemble("  ", pad(entry["name"], first), (figures, "dim")))


def _section(out: Console, section: Section, ui: str, *, explain: bool) -> None:
    out.print(Text(" " * INDENT + section.title.pick(ui), "dim"))
    rows = [*section.rows, *([section.total] if section.total else [])]
    detail = [row for row in section.detail if explain]
    labels = max(cell_len(row.label.pick(ui)) for row in rows)
    values = max(cell_len(quantity(row, ui)) for row in rows)
    whole = section.total.value if section.total else 0
    most = max((row.value for row in section.rows), default=0)
    for row in rows:
        last = row is section.total
        text = Text.assemble(
            " " * INDENT,
            (pad(row.label.pick(ui), labels), "bold" if last else ""),
            "  ",
            (pad(quantity(row, ui), values, "right"), "bold" if last else ""),
        )
        if whole and not last:
            text.append(f"  {row.value / whole:>4.0%}" if row.value / whole >= 0.005 else "   <1%", "dim")
            room = min(BAR_CELLS, out.width - text.cell_len - 2)
            text.append("  " + bar(row.value, most, room) if room > 3 and row.value / whole >= 0.005 else "", "cyan")
        elif last or not whole:
            text.append("  " + gloss(row) if gloss(row) else "", "dim")
        for line in wrap(text, out.width):
            out.print(line)
        if explain and row.formula:
            _hang(out, "    ", "", row.formula, "dim")
    if detail:
        out.print()
        _terms(out, detail, ui)


def _terms(out: Console, rows: Sequence[Row], ui: str) -> None:
    """Every term with its formula beside it, or below it where there is too little room."""
    labels = max(cell_len(row.label.pick(ui)) for row in rows)
    values = max(cell_len(quantity(row, ui)) for row in rows)
    beside = out.width - INDENT - labels - values - 4 >= FORMULA_CELLS
    for row in rows:
        front = f"{pad(row.label.pick(ui), labels)}  {pad(quantity(row, ui), values, 'right')}  "
        if beside:
            _hang(out, front, "", row.formula, "dim")
        else:
            _hang(out, "", "", front.rstrip())
            _hang(out, "    ", "", row.formula, "dim")


def quantity(row: Row, ui: str, *, compact: bool = False) -> str:
    """A row's number with its unit; both ends where it is a range. `compact`: 8.03B, not 8,030,261,248."""
    if compact and row.unit in ("params", "tokens") and row.value >= 1e6:
        return units.short(row.value)
    low = _one(row.value, row.unit, ui)
    high = low if row.high is None else _one(row.high, row.unit, ui)
    return low if high == low else f"{low} – {high}"


def _one(value: float, unit: str, ui: str) -> str:
    if unit in ("params", "tokens", "requests", "GPUs", ""):
        return f"{value:,.0f}" if float(value).is_integer() else units.digits(value)
    if unit == "s":
        text = units.seconds(value)
        return text.replace("days", "天").replace(" h", " 小时").replace("min", "分钟") if ui == "zh" else text
    if unit == "USD":
        return f"${units.digits(value)}"
    if unit == "%":
        return f"{units.digits(100 * value)}%"
    if unit == "×":
        return f"{units.digits(value)}×"
    if unit == "B" and value < 1e6 and float(value).is_integer():
        return f"{value:,.0f} B"  # small enough to be said exactly: 131,072 B
    if unit in ("tok/s", "bits"):
        return f"{units.digits(value)} {unit}"
    return units.si(value, unit)


def gloss(row: Row) -> str:
    """The same number said another way: 8.03B for a count, GiB for GB."""
    if row.high is not None:
        return ""
    if row.unit == "B" and row.value >= 2**10:
        return units.binary(row.value)
    return units.short(row.value) if row.unit in ("params", "tokens") and row.value >= 1e6 else ""


def _hang(out: Console, label: str, style: str, text: str, text_style: str = "") -> None:
    width = out.width - INDENT - cell_len(label)
    for line in hang(Text(" " * INDENT + label, style), wrap(Text(text, text_style), width)):
        out.print(line)
