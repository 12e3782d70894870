"""A demo's result: takeaway, facts, table, plot."""

from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from llmprep.bank.types import Question
from llmprep.cli import words
from llmprep.cli.context import Context
from llmprep.cli.render.card import claim_lines, indent, section
from llmprep.cli.render.text import console, hang, line, prose, wrap
from llmprep.lab import catalog
from llmprep.lab.catalog import DemoInfo
from llmprep.lab.contract import Cell, Fact, Plot, Table
from llmprep.lab.evidence import Run


def show_result(
    out: Console,
    info: DemoInfo,
    run: Run,
    ui: str,
    stored_versions: Mapping[str, str] | None = None,
    claims: Iterable[Text] = (),
) -> None:
    """Everything that a run found, at the width of the terminal; `claims` are lines of what it settles."""
    width = out.width
    result = run.result
    rows = [Text(""), *hang(Text("  "), wrap(Text(info.question, "bold"), width - 2)), Text("")]
    rows += hang(Text("  → ", "bold"), wrap(line(result.takeaway.pick(ui)), width - 4))
    for row in rows:
        out.print(row)
    out.print()
    out.print(facts_table(result.facts))
    out.print()
    out.print(data_table(result.table))
    drawn = plot_lines(result.plot, width, ascii_only=out.options.ascii_only)
    if drawn:
        out.print()
        for row in drawn:
            out.print(row)
    for row in claims:
        out.print(row)
    out.print()
    note = words.say(ui, "took", seconds=run.seconds)
    if stored_versions is not None:
        what = ", ".join(f"{k} {v}" for k, v in stored_versions.items()) or "Python"
        note = words.say(ui, "stored", versions=what)
    note += " · " + words.say(ui, "read_it", path=info.path)
    for row in wrap(Text(note, "dim"), width - 2):
        out.print(Text("  ") + row)


def _grid() -> RichTable:
    return RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", width=None, expand=False)


def facts_table(facts: Sequence[Fact]) -> RichTable:
    """Each fact with its prediction and a mark that they agree."""
    grid = _grid()
    grid.add_column("  ")
    grid.add_column("fact", overflow="fold")
    grid.add_column("measured", justify="right")
    grid.add_column("predicted", justify="right")
    grid.add_column("unit")
    for fact in facts:
        mark = Text(" ") if fact.predicted is None else Text("✓", "green") if fact.agrees else Text("✗", "red bold")
        predicted = "" if fact.predicted is None else number(fact.predicted)
        grid.add_row(Text(" ") + mark, fact.name, number(fact.measured), predicted, fact.unit)
    return grid


def data_table(table: Table) -> RichTable:
    """The demo's own table."""
    grid = _grid()
    grid.add_column("  ")
    for i, name in enumerate(table.columns):
        numeric = all(isinstance(row[i], int | float) or row[i] is None for row in table.rows)
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in table.rows:
        grid.add_row("", *(cell(value) for value in row))
    return grid


def cell(value: Cell) -> str:
    """A table cell as text."""
    return "" if value is None else value if isinstance(value, str) else number(value)


def number(value: float) -> str:
    """Integers in full, others to four digits: `131,072`, `0.1041`, `1.2e-07`."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1e4 or abs(value) >= 1e15 else f"{value:,.0f}"


def plot_lines(plot: Plot, width: int, *, ascii_only: bool = False) -> list[Text]:
    """The plot in characters, with a legend below; nothing where there is nothing to draw."""
    if not plot.series or not any(len(s.y) for s in plot.series):
        return []
    import plotext

    figure_width = min(width - 4, 76)
    plotext.clear_figure()
    plotext.theme("clear")
    markers = "ox+*#@%&" if ascii_only else "●○▲△■□◆◇"
    if plot.kind == "bar":
        _bars(plotext, plot)
    else:
        for series, marker in zip(plot.series, markers * 4, strict=False):
            xs, ys = _drawable(series.x, series.y, plot)
            if len(xs) > 1:
                plotext.plot(xs, ys, marker="·" if not ascii_only else ".")
            plotext.scatter(xs, ys, marker=marker)
        if plot.log_x:
            plotext.xscale("log")
        if plot.log_y:
            plotext.yscale("log")
        _ticks(plotext, plot)
    plotext.plotsize(figure_width, 15 if plot.kind == "line" else 12)
    plotext.frame(False)
    body = [row.rstrip() for row in plotext.uncolorize(plotext.build()).splitlines()]
    title = f"{plot.title}: {plot.y_label}" + (f" ({plot.x_label} →)" if plot.kind == "line" else "")
    out = [Text("  ") + row for row in wrap(Text(title, "bold"), width - 4)]
    out += [Text("  " + row) for row in body if row.strip()]
    if len(plot.series) > 1 and plot.kind == "line":  # bars come with a legend of their own
        out += _legend(plot, markers, width)
    return out


def _legend(plot: Plot, markers: str, width: int) -> list[Text]:
    items = [f"{m} {s.label}" for s, m in zip(plot.series, markers * 4, strict=False)]
    out = Text("  ")
    used = 2
    rows = []
    for item in items:
        if used + cell_len(item) + 3 > width and used > 2:
            rows.append(out)
            out, used = Text("  "), 2
        out.append(item + "   ", "dim")
        used += cell_len(item) + 3
    return [*rows, out]


def _bars(plotext: object, plot: Plot) -> None:
    markers = "█▒░▓"
    labels = [str(x) for x in plot.series[0].x]
    if len(plot.series) == 1:
        plotext.bar(labels, list(plot.series[0].y), marker=markers[0], width=0.5)  # type: ignore[attr-defined]
        return
    plotext.multiple_bar(  # type: ignore[attr-defined]
        labels, [list(s.y) for s in plot.series], labels=[s.label for s in plot.series], marker=list(markers)
    )


def _drawable(xs: Iterable[object], ys: Iterable[float], plot: Plot) -> tuple[list[float], list[float]]:
    pairs = [(float(x), float(y)) for x, y in zip(xs, ys, strict=False)]  # type: ignore[arg-type]
    kept = [(x, y) for x, y in pairs if (x > 0 or not plot.log_x) and (y > 0 or not plot.log_y)]
    return [x for x, _ in kept], [y for _, y in kept]


def _ticks(plotext: object, plot: Plot) -> None:
    """Ticks at round numbers, written short."""
    import math

    for is_log, axis in ((plot.log_x, "x"), (plot.log_y, "y")):
        if not is_log:
            continue
        values = [v for s in plot.series for v in (s.x if axis == "x" else s.y) if not isinstance(v, str) and v > 0]
        if not values:
            continue
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        step = max(1, (high - low) // 5)
        ticks = [10.0**e for e in range(low, high + 1, step) if min(values) <= 10.0**e <= max(values)] or [
            min(values),
            max(values),
        ]
        labels = [f"{t:g}" if 1e-3 <= t < 1e5 else f"{t:.0e}".replace("e+0", "e").replace("e-0", "e-") for t in ticks]
        getattr(plotext, f"{axis}ticks")(ticks, labels)


def show_list(demos: Iterable[DemoInfo]) -> None:
    """Every demo with its question, by cluster."""
    out = console()
    folder = ""
    for info in demos:
        cluster, name = info.id.split("/")
        if cluster != folder:
            out.print(Text(("\n" if folder else "") + cluster, "bold"))
            folder = cluster
        for row in hang(Text(f"  {name:<24} "), wrap(Text(info.question), out.width - 27)):
            out.print(row)


def show_lesson(info: DemoInfo, questions: Iterable[Question], world: Context) -> None:
    """The docstring of a demo, its parameters, and the claims that it settles."""
    out = console()
    evidence = world.evidence()
    rows = [*wrap(Text(info.question, "bold"), out.width), Text("")]
    rows += [Text("  ") + row for row in prose(info.lesson, out.width - 4)]
    rows += [Text(""), *(Text(f"  --set {name}={default}") for name, default in catalog.parameters(info).items())]
    for question in questions:
        claims = [c for c in question.claims if c.demo == info.id]
        rows += [Text(""), Text(f"  {question.id}", "bold")] if claims else []
        rows += [row for c in claims for row in claim_lines(c, evidence, world.lang, world.ui, out.width)]
    rows += [Text(""), Text("  " + words.say(world.ui, "read_it", path=info.path), "dim")]
    for row in rows:
        out.print(row)


def settled(info: DemoInfo, questions: Iterable[Question], world: Context, width: int) -> list[Text]:
    """The claims that a demo settles as lines below a heading with their questions; none where there are none."""
    found = {q.id: [c for c in q.claims if c.demo == info.id] for q in questions}
    names = [name for name, claims in found.items() if claims]
    if not names:
        return []
    evidence = world.evidence()
    rows = section(words.say(world.ui, "settles"))
    rows += indent(wrap(Text(", ".join(names), "dim"), width - 4))
    for name in names:
        rows += [row for c in found[name] for row in claim_lines(c, evidence, world.lang, world.ui, width)]
    return rows
