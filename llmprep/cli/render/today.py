"""Today at a glance."""

from datetime import timedelta

from rich.text import Text

from llmprep.cli import words
from llmprep.cli.context import Context
from llmprep.cli.render.text import console, pad
from llmprep.content import CLUSTERS
from llmprep.study.today import at_a_glance


def show_today(world: Context) -> None:
    """What is waiting, how it has gone lately, what to type: a few lines that never scroll."""
    with world.log() as log:
        today = at_a_glance(world.bank(quick=True), log, world.today)
    out, ui = console(), world.ui
    command = f"llmprep --bank {world.bank_dir}" if world.own_bank else "llmprep"
    if today.first_day:
        out.print(Text(words.say(ui, "welcome_own" if world.own_bank else "welcome", questions=today.total), "bold"))
        starters = [(f"{command} quiz", "start_quiz"), (f"{command} show {today.first}", "start_show")]
        if not world.own_bank:
            starters.append(("llmprep demo run kv_cache", "start_demo"))
        column = max(len(text) for text, _ in starters) + 2
        for text, key in starters:
            out.print(Text.assemble("  ", (pad(text, column), "bold"), words.say(ui, key)))
        return
    if today.due + today.new:
        text = words.say(ui, "today_line", due=today.due, new=today.new, minutes=today.minutes)
    else:
        text = words.say(ui, "all_done")
    out.print(Text(text, "bold"))
    week = [today.days.get(today.today - timedelta(days=i), 0) for i in range(6, -1, -1)]
    out.print(
        Text.assemble(
            words.say(ui, "streak", n=today.streak), ("   " + words.say(ui, "last_seven") + " ", "dim"), sparkline(week)
        )
    )
    if today.weakest:
        name = CLUSTERS[today.weakest[0]]
        label = name.zh if ui == "zh" else name.en
        out.print(Text(words.say(ui, "weakest", cluster=label, share=share(today.weakest[1]))))
    command += " quiz" if today.due + today.new else " stats"
    out.print(Text.assemble((words.say(ui, "type") + " ", "dim"), (command, "bold")))


def sparkline(values: list[int]) -> str:
    """Small bars, one a day: `▁▃█`."""
    most = max(values, default=0)
    ticks = "▁▂▃▄▅▆▇█"
    return "".join(ticks[0] if v == 0 else ticks[min(7, 1 + round(6 * v / most))] for v in values)


def share(value: float | None) -> str:
    """A percentage, or a dash where there is nothing to divide."""
    return "–" if value is None else f"{value:.0%}"
