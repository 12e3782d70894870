"""Bars, the calendar and the statistics page."""

from collections.abc import Mapping
from datetime import date, timedelta

from rich.console import Console
from rich.text import Text

from llmprep.cli import words
from llmprep.cli.render.text import bar, pad
from llmprep.cli.render.today import share
from llmprep.content import CLUSTERS
from llmprep.study.stats import MATURE_DAYS, Stats

HEAT = "·░▒▓█"
WEEKS = 18


def grade_bars(counts: Mapping[int, int], ui: str, width: int) -> list[Text]:
    """Six lines: the grade, its meaning, a bar, the number."""
    most = max(counts.values(), default=0)
    cells = min(30, width - 24)
    column = 9 if ui == "en" else 10
    return [
        Text.assemble(
            f"  {grade} ", (pad(words.pick(words.GRADES[grade], ui), column), "dim"), f"{bar(n, most, cells)} {n or ''}"
        )
        for grade, n in counts.items()
    ]


def show_stats(out: Console, stats: Stats, ui: str) -> None:
    """The statistics page."""
    width = out.width
    rows: list[Text] = [Text("  " + words.say(ui, "stats_title"), "bold")]

    def fact(name: str, text: str) -> None:
        rows.append(Text.assemble("  ", (pad(name, 26), "dim"), text))

    fact(words.say(ui, "seen"), words.say(ui, "of_total", n=stats.seen, total=stats.total))
    fact(words.say(ui, "mature", n=MATURE_DAYS), words.say(ui, "of_total", n=stats.mature, total=stats.total))
    fact(words.say(ui, "due"), str(stats.due))
    fact(
        words.say(ui, "retention"),
        words.say(ui, "retention_30", share=share(stats.retention), recent=share(stats.retention_30)),
    )
    fact(words.say(ui, "time_spent"), words.say(ui, "minutes", n=stats.minutes, answers=stats.reviews))
    rows += [Text(""), Text("  " + words.say(ui, "by_cluster"), "bold"), *_clusters(stats, ui, width)]
    rows += [Text(""), Text("  " + words.say(ui, "forecast"), "bold"), *_forecast(stats, ui, width)]
    if stats.reviews:
        rows += [Text(""), Text("  " + words.say(ui, "calendar"), "bold"), *calendar(stats.days, stats.today, ui)]
    if stats.hardest:
        rows += [Text(""), Text("  " + words.say(ui, "hardest"), "bold")]
        rows += [
            Text.assemble(f"  {pad(h.id, 36)} ", (f"{words.say(ui, 'failed', n=h.failures)} · EF {h.ef:.2f}", "dim"))
            for h in stats.hardest
        ]
    if not stats.reviews:
        rows += [Text(""), Text("  " + words.say(ui, "none_yet"), "dim")]
    for row in rows:
        out.print(row)


def _clusters(stats: Stats, ui: str, width: int) -> list[Text]:
    """Solid: known; shaded: seen; dots: new."""
    cells = min(30, width - 40)
    out = []
    for c in stats.clusters:
        name = CLUSTERS[c.cluster].zh if ui == "zh" else CLUSTERS[c.cluster].en
        solid = round(cells * c.mature / c.total)
        seen = max(round(cells * c.seen / c.total), 1 if c.seen else 0)
        picture = "█" * solid + "▒" * (seen - solid) + "·" * (cells - max(seen, solid))
        out.append(Text.assemble(f"  {pad(name, 22)} {picture} {c.seen}/{c.total}", (f"  {share(c.retention)}", "dim")))
    return out


def _forecast(stats: Stats, ui: str, width: int) -> list[Text]:
    most = max(stats.forecast.values(), default=0)
    out = []
    for when, n in stats.forecast.items():
        if n or when == stats.today:
            label = pad(words.day(when, stats.today, ui), 9)
            out.append(Text.assemble("  ", (label, "dim"), f"{bar(n, most, min(40, width - 20))} {n}"))
    return out


def calendar(days: Mapping[date, int], today: date, ui: str) -> list[Text]:
    """One column a week, one row a weekday, darker for more answers; the shade is a character, not a colour."""
    most = max(days.values(), default=1)
    monday = today - timedelta(days=today.weekday(), weeks=WEEKS - 1)
    names = words.say(ui, "weekdays").split()
    out = []
    for weekday in range(7):
        row = Text("  " + pad(names[weekday], 3), "dim")
        for week in range(WEEKS):
            when = monday + timedelta(weeks=week, days=weekday)
            n = days.get(when, 0)
            char = " " if when > today else HEAT[0] if n == 0 else HEAT[min(4, 1 + (4 * n - 1) // most)]
            row.append(char * 2 if char != "·" else "· ", "green" if n else "dim")
        out.append(row)
    out.append(Text("  " + words.say(ui, "less_more", scale=" ".join(HEAT)), "dim"))
    return out
