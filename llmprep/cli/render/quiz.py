"""The quiz on the screen: shows a card, reads a key, does what it says."""

import random
import time
from typing import Any

from rich.text import Text

from llmprep.bank.index import Bank
from llmprep.cli import words
from llmprep.cli.context import Context
from llmprep.cli.render import card, figures
from llmprep.cli.render.ending import nothing_due, summary
from llmprep.cli.render.keys import ENTER, NOTHING, SPACE
from llmprep.cli.render.screen import Screen
from llmprep.cli.render.text import wrap
from llmprep.errors import MissingExtraError, UserError
from llmprep.lab import catalog
from llmprep.store.log import ReviewLog
from llmprep.study.grading import suggest
from llmprep.study.measure import prediction
from llmprep.study.session import Done, Session, Turn

MOST_SECONDS = 900.0  # a card left open over lunch did not take an hour


KEYS = "hnpqrsux?"


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
        self.screen = Screen(world)
        self.ui, self.lang, self.keys = world.ui, world.lang, self.screen.keys
        self.evidence = world.evidence()
        self.rng = random.Random()
        self.at_once = at_once or not self.keys.terminal
        self.limit_seconds = minutes * 60 if minutes else None
        self.started = time.monotonic()
        self.message = next((str(problem) for problem in bank.problems()), "")
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
            self.say_message()
            nothing_due(self.screen, self.bank, self.log, self.session.today)
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
        if ending == "done":
            self.screen.clear()
        self.say_message()
        summary(self.screen, self.session, ending, time.monotonic() - self.started)

    def ask(self, turn: Turn) -> None:
        """Show one card and stay with it until it is answered or skipped."""
        self.shown_at = time.monotonic()
        self.hints = 0
        self.data: dict[str, Any] = {}
        self.draw_front(turn)
        names = [] if turn.role == "drill" else card.layers(turn.question)
        shown = 0
        while shown < max(1, len(names)):
            key = self.keys.key()
            if key in (SPACE, ENTER):
                if shown == 0:
                    self.thought_seconds = time.monotonic() - self.shown_at
                for name in names[shown:] if key == ENTER or self.at_once else names[shown : shown + 1]:
                    self.draw_layer(turn, name)
                    shown += 1
                    if shown < len(names):
                        self.screen.print([Text("")])
                shown = max(shown, 1)
                if shown < len(names):
                    self.screen.dim("keys_more")
            elif key == "x":
                self.dont_know(turn, names[shown:])
                return
            elif self.front_key(key, turn, opened=shown > 0):
                return
        self.back(turn)

    def back(self, turn: Turn) -> None:
        """Evidence, then key points and grades until there is a grade."""
        if turn.role != "drill":
            self.draw_evidence(turn, with_key=True)
        ticked: set[str] = set()
        while True:
            key = self.read_with_panel(turn, ticked)
            if key in set("012345"):
                return self.store(turn, int(key), ticked)
            if key == ENTER:
                return self.store(turn, self.suggested(turn, ticked), ticked)
            if key == "x":
                return self.store(turn, 0, set())
            if self.either_key(key, turn):
                return None

    # -- keys -------------------------------------------------------------------------------------------------------

    def front_key(self, key: str, turn: Turn, *, opened: bool) -> bool:
        """A key before all of the answer is open; True if the card is finished with."""
        if key in ("p", "h") and opened:
            self.screen.tell(self.screen.say("front_only"))
        elif key == "h":
            self.hint(turn)
        elif key == "p":
            self.predict(turn)
        elif key == "r" and not opened:
            self.screen.tell(self.screen.say("try_first"))
        elif key == "?":
            self.screen.print(self.help())
        elif is_unknown(key):
            self.screen.tell(self.screen.say("unknown_key", key=key))
        else:
            return self.either_key(key, turn)
        return False

    def either_key(self, key: str, turn: Turn) -> bool:
        """A key that works on both sides; True if the card is finished with."""
        if key == "q":
            raise Leave
        if key == "s":
            self.session.skip()
            self.message = self.screen.say("skipped")
            return True
        if key == "u":
            undone = self.session.undo(self.world.now())
            if undone:
                self.message = f"{self.screen.say('undone')}: {undone}"
                return True
            self.screen.tell(self.screen.say("nothing_to_undo"))
        elif key == "n":
            self.drill(turn)
        elif key == "r":
            self.run_demo(turn)
        return False

    def help(self) -> list[Text]:
        """All keys."""
        return card.indent(Text(row) for row in self.screen.say("help").splitlines())

    def suggested(self, turn: Turn, ticked: set[str]) -> int:
        """The grade that Enter accepts."""
        return suggest(turn.points, ticked, hints=self.hints, seconds=self.thought_seconds)

    def read_with_panel(self, turn: Turn, ticked: set[str]) -> str:
        """Ticks, with key points and grades drawn again in place; the first key that is for somebody else."""
        letters = dict(zip("abcdef", (p.id for p in turn.points), strict=False))
        note: list[Text] = []
        self.say_message()
        if not self.screen.live:
            return self.read_plainly(turn, ticked, letters)
        from rich.live import Live  # not before the first card

        options = {"auto_refresh": False, "vertical_overflow": "visible", "transient": True}
        with Live(card.group(self.panel(turn, ticked, note)), console=self.screen.console, **options) as live:  # type: ignore[arg-type]
            while True:
                key = self.keys.key()
                note = []
                if key in letters:
                    ticked ^= {letters[key]}
                elif key == ENTER and letters and not ticked:
                    note = self.note("tick_first", last=max(letters))
                elif key in ("h", "p"):
                    note = self.note("front_only")
                elif key == "?":
                    note = [Text(""), *self.help()]
                elif is_unknown(key, "012345"):
                    note = self.note("unknown_key", key=key)
                elif key not in (SPACE, NOTHING):
                    return key
                live.update(card.group(self.panel(turn, ticked, note)), refresh=True)

    def read_plainly(self, turn: Turn, ticked: set[str], letters: dict[str, str]) -> str:
        """The same for a pipe or a terminal that cannot move its cursor: the panel is printed below."""
        while True:
            if not self.keys.waiting:
                self.screen.print(self.panel(turn, ticked, []))
            key = self.keys.key()
            if key in letters:
                ticked ^= {letters[key]}
            elif key == ENTER and letters and not ticked:
                self.screen.print(self.note("tick_first", last=max(letters)))
            elif key == "?":
                self.screen.print(self.help())
            elif key not in (SPACE, NOTHING, "h", "p"):
                return key

    def panel(self, turn: Turn, ticked: set[str], note: list[Text]) -> list[Text]:
        """Question, key points, grades and keys; a line for each where the window is low."""
        width = self.screen.width

        def rows(*, short: bool) -> list[Text]:
            out = [] if short else [Text("")]
            out += card.prompt(turn.question, card.primary(self.lang, self.ui), width)[:1]
            out += card.checklist(turn.points, ticked, self.lang, self.ui, width, short=short)
            out += [] if short else [Text("")]
            outcomes, today = self.session.outcomes(turn), self.session.today
            out += card.grades(outcomes, self.suggested(turn, ticked), today, self.ui, width)
            keys = self.screen.say("keys_back", last=max("abcdef"[: len(turn.points)], default="a"))
            out += [] if short else [Text("")]
            return [*out, *card.indent(wrap(Text(keys, "dim"), width - 2 * card.MARGIN)), *note]

        full = rows(short=False)
        return full if len(full) < self.screen.console.height or not self.screen.live else rows(short=True)

    def note(self, phrase: str, **values: object) -> list[Text]:
        """A line in answer to a key, at the foot of the panel."""
        text = Text(self.screen.say(phrase, **values))
        return card.indent(wrap(text, self.screen.width - 2 * card.MARGIN))

    # -- answers ----------------------------------------------------------------------------------------------------

    def store(self, turn: Turn, grade: int, ticked: set[str]) -> None:
        """Write the answer, then say where it leads."""
        done = self.session.answer(
            turn,
            grade,
            ticked=sorted(ticked),
            seconds=min(time.monotonic() - self.shown_at, MOST_SECONDS),
            at=self.world.now(),
            data={**self.data, "thought": round(self.thought_seconds, 1)},
        )
        self.message = self.where_it_leads(done)
        if not self.keys.terminal:
            self.say_message()

    def dont_know(self, turn: Turn, rest: list[str]) -> None:
        """An honest zero: stored at once, then everything to read."""
        self.thought_seconds = time.monotonic() - self.shown_at
        self.store(turn, 0, set())
        for name in rest:
            self.draw_layer(turn, name)
            self.screen.print([Text("")])
        everything = [point.id for point in turn.points]
        self.screen.print(card.checklist(turn.points, everything, self.lang, self.ui, self.screen.width))
        if turn.role != "drill":
            self.draw_evidence(turn, with_key=False)
        self.screen.print([Text("")])
        if turn.role != "practice":
            self.screen.dim("dont_know")
        if self.keys.terminal:
            self.screen.dim("next")
            if self.keys.key() == "q":
                raise Leave

    def where_it_leads(self, done: Done) -> str:
        """`4 → back on 28 Nov (6 d)`."""
        state, grade = done.state, done.event.grade
        if state is None:
            return ""
        when = words.day(state.due, self.session.today, self.ui)
        if done.role == "practice":
            return self.screen.say("no_change", grade=grade, day=when)
        if state.sm2.drill:
            return self.screen.say("comes_today", grade=grade, day=when)
        return self.screen.say("comes_back", grade=grade, day=when, n=(state.due - self.session.today).days)

    # -- before the answer ------------------------------------------------------------------------------------------

    def hint(self, turn: Turn) -> None:
        """The probe of the next key point. A partial repetition shows its probes already, a draft may have none."""
        asks = [point.ask.pick(card.primary(self.lang, self.ui)) for point in turn.points if any(point.ask)]
        if turn.role == "drill" or self.hints >= len(asks):
            self.screen.tell(self.screen.say("no_hint"))
            return
        self.hints += 1
        self.screen.tell(self.screen.say("hint", i=self.hints, n=len(asks), text=asks[self.hints - 1]))

    def predict(self, turn: Turn) -> None:
        """Take one guess at a number; it goes into the log, and into the answer that follows."""
        if "predicted" in self.data:
            self.screen.tell(self.screen.say("front_only"))
            return
        record = figures.predict(self.screen, turn.question, self.evidence)
        if record:
            self.session.note("predict", turn, self.world.now(), record)
            self.data["predicted"] = record

    def drill(self, turn: Turn) -> None:
        """Ask a numeric drill; it goes into the log."""
        record = figures.drill(self.screen, turn.question, self.evidence, self.rng)
        if record:
            self.session.note("drill", turn, self.world.now(), record)

    def run_demo(self, turn: Turn) -> None:
        """Run the demo of the first claim with its settings, below the card."""
        from llmprep.cli.commands.demo import offer_install, run_in_worker
        from llmprep.cli.render.demo import show_result

        claims = [c for c in turn.question.claims if c.demo]
        if not claims:
            self.screen.tell(self.screen.say("no_demo"))
            return
        demo, settings = claims[0].demo, claims[0].set
        info = catalog.find(demo)
        self.screen.tell(self.screen.say("running", demo=info.id))
        try:
            run = run_in_worker(info, settings)
        except MissingExtraError as error:
            stored = self.evidence.find(info, settings)
            if not offer_install(error, self.ui, self.keys) and stored:
                show_result(self.screen.console, info, stored, self.ui, self.evidence.versions(info))
            return
        except UserError as error:
            self.screen.tell(str(error))
            return
        except KeyboardInterrupt:
            return
        show_result(self.screen.console, info, run, self.ui)

    # -- drawing ----------------------------------------------------------------------------------------------------

    def draw_front(self, turn: Turn) -> None:
        """The question alone."""
        width = self.screen.width
        self.screen.clear()
        self.screen.print([card.header(turn, self.ui), Text("")])
        self.screen.print(card.prompt(turn.question, self.lang, width), after=True)
        if turn.role == "drill" and len(turn.points) < len(turn.question.key_points):
            self.screen.print(card.probes(turn.points, self.lang, self.ui, width), after=True)
        self.say_message()
        has_number = turn.role != "drill" and prediction(turn.question, self.evidence) is not None
        self.screen.dim("keys_front" if has_number else "keys_front_plain")
        self.screen.print([card.rule(width)])

    def draw_layer(self, turn: Turn, name: str) -> None:
        """One layer of the answer."""
        self.screen.print(card.layer(turn.question, name, self.lang, self.ui, self.screen.width))

    def draw_evidence(self, turn: Turn, *, with_key: bool) -> None:
        """The claims with what was measured."""
        rows = card.evidence(turn.question, self.evidence, self.lang, self.ui, self.screen.width, with_key=with_key)
        self.screen.print(rows)

    def say_message(self) -> None:
        """Where the last answer leads, shown once."""
        if self.message:
            self.screen.tell(self.message)
            self.message = ""


def is_unknown(key: str, more: str = "") -> bool:
    """Whether a key that shows on the screen means nothing here."""
    return key.isprintable() and bool(key.strip()) and key not in KEYS + more
