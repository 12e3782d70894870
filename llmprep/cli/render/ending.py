"""The end of a sitting: what was done and what comes next."""

from datetime import date

from rich.text import Text

from llmprep.bank.index import Bank
from llmprep.cli import words
from llmprep.cli.render.screen import Screen
from llmprep.srs.fold import CardState
from llmprep.store.log import ReviewLog
from llmprep.study.session import Done, Session


def nothing_due(screen: Screen, bank: Bank, log: ReviewLog, today: date) -> None:
    """Caught up: when the next card comes, and what to do until then."""
    if not len(bank):
        screen.tell(screen.say("no_questions"))
        return
    screen.tell(screen.say("caught_up"))
    coming = sorted(state.due for state in _active(bank, log) if state.due > today)
    if coming:
        when = words.day(coming[0], today, screen.ui)
        screen.tell(screen.say("next_due", n=words.cards(coming.count(coming[0]), screen.ui), day=when))
    seen = log.last_grades()
    if any(bank.key(i) not in seen for i in bank.new_ids()):
        introduced = sum(state.reviews == 1 and state.last_review == today for state in _active(bank, log))
        screen.tell(screen.say("more_new", n=introduced + 10))
    screen.tell(screen.say("practise_one", id=bank.ids()[0]))


def summary(screen: Screen, session: Session, ending: str, seconds: float) -> None:
    """Cards and minutes, the first grade of each card as bars, what comes, and one card worth reading again."""
    first: dict[str, Done] = {}
    for done in session.done:
        first.setdefault(done.turn.key, done)
    title = screen.say(ending, cards=words.cards(len(first), screen.ui), minutes=f"{seconds / 60:.0f}")
    screen.print([Text(""), Text("  " + title, "bold")])
    if not first:
        return
    from llmprep.cli.render.stats import grade_bars  # not before the first card

    counts = {grade: sum(d.event.grade == grade for d in first.values()) for grade in range(6)}
    screen.print([Text(""), *grade_bars(counts, screen.ui, screen.width), Text("")])
    today, mine = session.today, _active(session.bank, session.log)
    if owed := sum(state.sm2.drill and state.last_day == today and state.due > today for state in mine):
        screen.tell(screen.say("still_today", n=owed))
    screen.tell(screen.say("tomorrow", n=sum((state.due - today).days <= 1 for state in mine)))
    worst = min(first.values(), key=lambda d: (d.event.grade or 0, -(d.event.seconds or 0)))
    if (worst.event.grade or 0) < 4:
        question = worst.turn.question
        screen.tell(screen.say("worth", id=f"llmprep show {question.id}"))
        if question.demos:
            screen.tell(screen.say("try_demo", demo=question.demos[0]))


def _active(bank: Bank, log: ReviewLog) -> list[CardState]:
    return [state for key, state in log.states().items() if bank.id_of(key) and not state.suspended]
