"""The quiz on the screen: shows a card, reads a key, does what it says."""

import random
import time
from typing import Any

from rich.live import Live
from rich.text import Text

from llmprep.bank.index import Bank
from llmprep.cli import words
from llmprep.cli.context import Context
from llmprep.cli.render import card
from llmprep.cli.render.keys import ENTER, SPACE, Keys
from llmprep.cli.render.text import console, line, wrap
from llmprep.errors import MissingExtraError, UserError
from llmprep.lab import catalog
from llmprep.lab.claim import fill
from llmprep.lab.contract import Number
from llmprep.store.log import ReviewLog
from llmprep.study.grading import is_right, off_by, suggest
from llmprep.study.measure import draw_drill, prediction
from llmprep.study.session import Done, Session, Turn


class Leave(Exception):  # noqa: N818  (a way out, not an error)
    """The person leaves the quiz."""


class Quiz:
    """One sitting. Everything that must last is in the log before the next card shows."""

    def __init__(
        self,
        world: Context,
        bank: Bank,
        log: ReviewLog,
        session: Session,
        *,
        minutes: float | None = None,
        at_once: bool = False,
    ) -> None:
        self.world, self.bank, self.log, self.session = world, bank, log, session
        self.ui, self.lang = world.ui, world.lang
        self.keys = Keys()
        self.console = console()
        self.width = self.console.width
        self.evidence = world.evidence()
        self.rng = random.Random()
        self.at_once = at_once or not self.keys.terminal
        self.limit_seconds = minutes * 60 if minutes else None
        self.started = time.monotonic()
        self.message = ""
        self.thought_seconds = 0.0  # from the question to the first look at the answer

    # -- the sitting ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Ask until nothing is left, time is up, or the person leaves."""
        with self.keys:
            self.sit()

    def sit(self) -> None:
        """The loop over cards, and the summary after it."""
        turn = self.session.turn()
        if turn is None:
            self.nothing_due()
            return
        ending = "done"
        try:
            while turn is not None:
                if self.limit_seconds and time.monotonic() - self.started >= self.limit_seconds:
                    ending = "time_up"
                    break
                self.ask(turn)
                turn = self.session.turn()
        except (Leave, EOFError, KeyboardInterrupt):
            ending = "stopped"
            self.console.print()
        self.summary(ending)

    def ask(self, turn: Turn) -> None:
        """Show one card and stay with it until it is answered or skipped."""
        self.shown_at = time.monotonic()
        self.hints = 0
        self.data: dict[str, Any] = {}
        self.front(turn)
        names = card.layers(turn.question)
        if turn.role == "drill":
            names = []
        shown = 0
        while shown < max(1, len(names)):
            key = self.keys.key()
            if key in (SPACE, ENTER):
                everything = key == ENTER or self.at_once
                self.thought_seconds = time.monotonic() - self.shown_at if shown == 0 else self.thought_seconds
                for name in names[shown:] if everything else names[shown : shown + 1]:
                    self.print(card.layer(turn.question, name, self.lang, self.ui, self.width))
                    shown += 1
                    if shown < len(names):
                        self.console.print()
                shown = max(shown, 1)
                if shown < len(names):
                    self.dim("keys_more")
            elif key == "x":
                self.dont_know(turn, names[shown:])
                return
            elif self.common(key, turn):
                return
        self.back(turn)

    def front(self, turn: Turn) -> None:
        """The question alone."""
        if self.keys.terminal:
            self.console.clear()
        self.print([card.header(turn, self.ui), Text("")])
        self.print(card.prompt(turn.question, self.lang, self.width), after=True)
        if turn.role == "drill" and len(turn.points) < len(turn.question.key_points):
            self.print(card.probes(turn.points, self.lang, self.width), after=True)
        self.say_message()
        has_number = turn.role != "drill" and prediction(turn.question, self.evidence) is not None
        self.dim("keys_front" if has_number else "keys_front_plain")
        self.print([card.rule(self.width)])

    def back(self, turn: Turn) -> None:
        """Evidence, key points, grades; ticks redraw only the lower part."""
        if turn.role != "drill":
            self.print(card.evidence(turn.question, self.evidence, self.lang, self.ui, self.width, with_key=True))
        ticked: set[str] = set()
        letters = dict(zip("abcdef", (p.id for p in turn.points), strict=False))
        while True:
            key = self.read_with_panel(turn, ticked, letters)
            self.message = ""
            if key in letters:
                ticked ^= {letters[key]}
            elif key == ENTER or key in set("012345"):
                self.store(turn, self.suggested(turn, ticked) if key == ENTER else int(key), ticked)
                return
            elif key == SPACE:
                continue
            elif key == "x":
                self.store(turn, 0, set())
                return
            elif self.common(key, turn):
                return

    def suggested(self, turn: Turn, ticked: set[str]) -> int:
        """The grade that Enter accepts."""
        return suggest(turn.points, ticked, hints=self.hints, seconds=self.thought_seconds)

    def read_with_panel(self, turn: Turn, ticked: set[str], letters: dict[str, str]) -> str:
        """Key points and grades, redrawn in place after each tick."""

        def panel() -> list[Text]:
            rows = card.checklist(turn.points, ticked, self.lang, self.ui, self.width)
            outcomes, suggested = self.session.outcomes(turn), self.suggested(turn, ticked)
            rows += [Text(""), *card.grades(outcomes, suggested, self.world.today, self.ui, self.width)]
            hint = words.say(self.ui, "keys_back", last=max(letters, default="a"))
            return [*rows, Text(""), *card.indent(wrap(Text(hint, "dim"), self.width - 2 * card.MARGIN))]

        self.say_message()
        if not self.keys.terminal:
            if not self.keys.waiting:
                self.print(panel())
            return self.keys.key()
        with Live(card.group(panel()), console=self.console, auto_refresh=False, vertical_overflow="visible") as live:
            while True:
                key = self.keys.key()
                if key not in letters:
                    return key
                ticked ^= {letters[key]}
                live.update(card.group(panel()), refresh=True)

    # -- answers ----------------------------------------------------------------------------------------------------

    def store(self, turn: Turn, grade: int, ticked: set[str]) -> None:
        """Write the answer, then say where it leads."""
        done = self.session.answer(
            turn, grade, ticked=sorted(ticked), seconds=self.thought_seconds, at=self.world.now(), data=self.data
        )
        self.message = self.where_it_leads(done)
        if not self.keys.terminal:
            self.say_message()

    def dont_know(self, turn: Turn, rest: list[str]) -> None:
        """An honest zero: stored at once, then everything to read."""
        self.thought_seconds = time.monotonic() - self.shown_at
        self.store(turn, 0, set())
        for name in rest:
            self.print(card.layer(turn.question, name, self.lang, self.ui, self.width), after=True)
        if turn.role == "drill":
            self.print(card.checklist(turn.points, [p.id for p in turn.points], self.lang, self.ui, self.width))
        self.print(card.evidence(turn.question, self.evidence, self.lang, self.ui, self.width, with_key=False))
        self.print([Text("")])
        self.dim("dont_know")
        if self.keys.terminal:
            self.dim("next")
            self.keys.key()

    def where_it_leads(self, done: Done) -> str:
        """`4 → back on 28 Nov (6 d)`."""
        state, grade = done.state, done.event.grade
        if state is None:
            return ""
        when = words.day(state.due, self.world.today, self.ui)
        if done.turn.role == "practice":
            return words.say(self.ui, "no_change", grade=grade, day=when)
        if state.sm2.drill:
            return words.say(self.ui, "comes_today", grade=grade, day=when)
        return words.say(self.ui, "comes_back", grade=grade, day=when, n=(state.due - self.world.today).days)

    # -- keys that work on both sides -------------------------------------------------------------------------------

    def common(self, key: str, turn: Turn) -> bool:
        """Do what a key says; True if the card is finished with."""
        if key in ("q", "\x1b"):
            raise Leave
        if key == "s":
            self.session.skip()
            self.message = words.say(self.ui, "skipped")
            return True
        if key == "u":
            if self.session.undo(self.world.now()):
                self.message = words.say(self.ui, "undone")
                return True
            self.tell(words.say(self.ui, "nothing_to_undo"))
        elif key == "h":
            self.hint(turn)
        elif key == "p":
            self.predict(turn)
        elif key == "n":
            self.numeric(turn)
        elif key == "r":
            self.run_demo(turn)
        elif key == "?":
            for row in words.say(self.ui, "help").splitlines():
                self.tell(row, bold_key=False)
        elif key.isprintable() and key.strip():
            self.tell(words.say(self.ui, "unknown_key", key=key))
        return False

    def hint(self, turn: Turn) -> None:
        """The probe of the next key point."""
        if self.hints >= len(turn.points):
            self.tell(words.say(self.ui, "no_hint"))
            return
        point = turn.points[self.hints]
        self.hints += 1
        text = (point.ask if any(point.ask) else point.say).pick(card.languages(self.lang)[-1])
        self.tell(words.say(self.ui, "hint", i=self.hints, n=len(turn.points), text=text))

    def predict(self, turn: Turn) -> None:
        """Hide a number, take a guess, let the measurement settle it."""
        guess = prediction(turn.question, self.evidence)
        if guess is None:
            self.tell(words.say(self.ui, "no_prediction"))
            return
        others = dict.fromkeys(guess.run.facts, _Blank("…"))  # another fact could give the number away
        values = {**guess.run.values, **others, guess.name: _Blank("___")}
        for code in card.languages(self.lang):
            self.tell(fill(guess.claim.says.pick(code), values))
        said = self.number(words.say(self.ui, "predict_ask"))
        if said is None:
            return
        record = {"claim": guess.index, "fact": guess.name, "said": said, "measured": guess.measured}
        self.session.note("predict", turn, self.world.now(), record)
        self.data["predicted"] = record
        off = off_by(said, guess.measured)
        if off:
            self.tell(words.say(self.ui, "predict_off", said=_show(said), measured=_show(guess.measured), off=off))
        else:
            self.tell(words.say(self.ui, "predict_hit", said=_show(said)))
        for row in card.claim_lines(guess.claim, self.evidence, self.lang, self.ui, self.width):
            self.console.print(row)

    def numeric(self, turn: Turn) -> None:
        """A drill with fresh numbers, graded against stored evidence."""
        drawn = draw_drill(turn.question, self.evidence, self.rng)
        if drawn is None:
            self.tell(words.say(self.ui, "no_drill"))
            return
        for code in card.languages(self.lang):
            self.tell(fill(drawn.drill.ask.pick(code), drawn.run.params))
        said = self.number(words.say(self.ui, "drill_ask", unit=drawn.unit or "×"))
        if said is None:
            return
        right = is_right(drawn.drill, said, drawn.measured)
        record = {"demo": drawn.drill.demo, "settings": drawn.settings, "said": said, "right": right}
        self.session.note("drill", turn, self.world.now(), record)
        self.tell(
            words.say(
                self.ui,
                "drill_right" if right else "drill_wrong",
                measured=_show(drawn.measured),
                unit=drawn.unit,
                said=_show(said),
                off=off_by(said, drawn.measured) or "=",
            )
        )

    def number(self, prompt: str) -> float | None:
        """Ask for a number until it is one; an empty line gives up."""
        while True:
            text = self.keys.line("  " + prompt)
            if not text:
                return None
            value = parse_number(text)
            if value is not None:
                return value
            self.tell(words.say(self.ui, "not_a_number", text=text))

    def run_demo(self, turn: Turn) -> None:
        """Run the demo of the first claim with its settings, below the card."""
        from llmprep.cli.commands.demo import offer_install, run_in_worker
        from llmprep.cli.render.demo import show_result

        claims = [c for c in turn.question.claims if c.demo]
        if not claims:
            self.tell(words.say(self.ui, "no_demo"))
            return
        demo, settings = claims[0].demo, claims[0].set
        info = catalog.find(demo)
        self.tell(words.say(self.ui, "running", demo=info.id))
        try:
            run = run_in_worker(info, settings)
        except MissingExtraError as error:
            if not offer_install(error, self.ui, self.keys):
                stored = self.evidence.find(info, settings)
                if stored:
                    show_result(self.console, info, stored, self.ui, self.evidence.versions(info))
            return
        except UserError as error:
            self.tell(str(error))
            return
        except KeyboardInterrupt:
            return
        show_result(self.console, info, run, self.ui)

    # -- the end ----------------------------------------------------------------------------------------------------

    def nothing_due(self) -> None:
        """Caught up: when the next card comes, and what to do until then."""
        if not len(self.bank):
            self.console.print(words.say(self.ui, "no_questions"))
            return
        self.console.print(words.say(self.ui, "caught_up"))
        dues = sorted(s.due for key, s in self.log.states().items() if self.bank.id_of(key) and not s.suspended)
        coming = [d for d in dues if d > self.world.today]
        if coming:
            when = words.day(coming[0], self.world.today, self.ui)
            self.console.print(words.say(self.ui, "next_due", n=coming.count(coming[0]), day=when))
        self.console.print(words.say(self.ui, "more_new", n=20))
        self.console.print(words.say(self.ui, "practise_one", id=self.bank.ids()[0]))

    def summary(self, ending: str) -> None:
        """What was done, the grades, what comes, and one card worth reading again."""
        from llmprep.cli.render.stats import grade_bars

        done = self.session.done
        cards = len({d.turn.key for d in done})
        minutes = f"{(time.monotonic() - self.started) / 60:.0f}"
        if self.keys.terminal and ending == "done":
            self.console.clear()
        self.print([Text("")])
        if self.message:
            self.say_message()
        self.console.print(
            "  " + words.say(self.ui, ending, cards=words.cards(cards, self.ui), minutes=minutes), style="bold"
        )
        if not done:
            return
        first: dict[str, Done] = {}
        for d in done:
            first.setdefault(d.turn.key, d)
        counts = {q: sum(d.event.grade == q for d in first.values()) for q in range(6)}
        self.print([Text(""), *grade_bars(counts, self.ui, self.width), Text("")])
        today, states = self.world.today, self.log.states()
        mine = [s for key, s in states.items() if self.bank.id_of(key) and not s.suspended]
        if owed := sum(s.sm2.drill and s.last_day == today and s.due > today for s in mine):
            self.tell(words.say(self.ui, "still_today", n=owed))
        self.tell(words.say(self.ui, "tomorrow", n=sum((s.due - today).days == 1 for s in mine)))
        worst = min(first.values(), key=lambda d: (d.event.grade or 0, -(d.event.seconds or 0)))
        if (worst.event.grade or 0) < 4:
            self.tell(words.say(self.ui, "worth", id=f"llmprep show {worst.turn.question.id}"))
            if worst.turn.question.demos:
                self.tell(words.say(self.ui, "try_demo", demo=worst.turn.question.demos[0]))

    # -- printing ---------------------------------------------------------------------------------------------------

    def print(self, rows: list[Text], *, after: bool = False) -> None:
        """Lines as they are, and a blank one after them."""
        for row in rows:
            self.console.print(row)
        if after:
            self.console.print()

    def tell(self, text: str, *, bold_key: bool = True) -> None:
        """A line or two in answer to a key."""
        for row in card.indent(wrap(line(text) if bold_key else Text(text), self.width - 2 * card.MARGIN)):
            self.console.print(row)

    def dim(self, key: str) -> None:
        """A quiet phrase."""
        for row in card.indent(wrap(Text(words.say(self.ui, key), "dim"), self.width - 2 * card.MARGIN)):
            self.console.print(row)

    def say_message(self) -> None:
        """The last answer's return date, shown once."""
        if self.message:
            self.tell(self.message)
            self.message = ""


class _Blank(str):
    """Stands for a hidden number in a sentence, whatever its format."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return str(self)


def parse_number(text: str) -> float | None:
    """`131,072`, `1.5e6`, `40%`, `1/4` and `128k` as numbers; None for anything else."""
    text = text.replace(",", "").replace("，", "").replace("_", "").strip().rstrip("×xB").strip()
    scale = 1.0
    for suffix, factor in (("%", 0.01), ("％", 0.01), ("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if text.endswith(suffix):
            text, scale = text[:-1].strip(), factor
            break
    over, slash, under = text.partition("/")
    try:
        value = float(over) / float(under) if slash else float(text)
    except (ValueError, ZeroDivisionError):
        return None
    return value * scale if abs(value) < float("inf") else None


def _show(value: Number) -> str:
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:,.4g}"
