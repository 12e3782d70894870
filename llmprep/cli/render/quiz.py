"""The quiz on the screen: shows a card, reads a key, does what it says."""

import random
import time
from typing import Any

from rich.live import Live
from rich.text import Text

from llmprep.bank.index import Bank
from llmprep.cli import words
from llmprep.cli.context import Context
from llmprep.cli.render import card, figures
from llmprep.cli.render.ending import nothing_due, summary
from llmprep.cli.render.keys import ENTER, ESCAPE, SPACE
from llmprep.cli.render.screen import Screen
from llmprep.cli.render.text import wrap
from llmprep.errors import MissingExtraError, UserError
from llmprep.lab import catalog
from llmprep.store.log import ReviewLog
from llmprep.study.grading import suggest
from llmprep.study.measure import prediction
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
        self.screen = Screen(world)
        self.ui, self.lang, self.width, self.keys = world.ui, world.lang, self.screen.width, self.screen.keys
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
            nothing_due(self.screen, self.bank, self.log, self.world.today)
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
                    self.screen.print(card.layer(turn.question, name, self.lang, self.ui, self.width))
                    shown += 1
                    if shown < len(names):
                        self.screen.print([Text("")])
                shown = max(shown, 1)
                if shown < len(names):
                    self.screen.dim("keys_more")
            elif key == "x":
                self.dont_know(turn, names[shown:])
                return
            elif self.common(key, turn):
                return
        self.back(turn)

    def front(self, turn: Turn) -> None:
        """The question alone."""
        self.screen.clear()
        self.screen.print([card.header(turn, self.ui), Text("")])
        self.screen.print(card.prompt(turn.question, self.lang, self.width), after=True)
        if turn.role == "drill" and len(turn.points) < len(turn.question.key_points):
            self.screen.print(card.probes(turn.points, self.lang, self.width), after=True)
        self.say_message()
        has_number = turn.role != "drill" and prediction(turn.question, self.evidence) is not None
        self.screen.dim("keys_front" if has_number else "keys_front_plain")
        self.screen.print([card.rule(self.width)])

    def back(self, turn: Turn) -> None:
        """Evidence, key points, grades; ticks redraw only the lower part."""
        if turn.role != "drill":
            self.screen.print(
                card.evidence(turn.question, self.evidence, self.lang, self.ui, self.width, with_key=True)
            )
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
            hint = self.screen.say("keys_back", last=max(letters, default="a"))
            return [*rows, Text(""), *card.indent(wrap(Text(hint, "dim"), self.width - 2 * card.MARGIN))]

        self.say_message()
        if not self.keys.terminal:
            if not self.keys.waiting:
                self.screen.print(panel())
            return self.keys.key()
        with Live(
            card.group(panel()), console=self.screen.console, auto_refresh=False, vertical_overflow="visible"
        ) as live:
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
            self.screen.print(card.layer(turn.question, name, self.lang, self.ui, self.width), after=True)
        if turn.role == "drill":
            self.screen.print(card.checklist(turn.points, [p.id for p in turn.points], self.lang, self.ui, self.width))
        self.screen.print(card.evidence(turn.question, self.evidence, self.lang, self.ui, self.width, with_key=False))
        self.screen.print([Text("")])
        self.screen.dim("dont_know")
        if self.keys.terminal:
            self.screen.dim("next")
            self.keys.key()

    def where_it_leads(self, done: Done) -> str:
        """`4 → back on 28 Nov (6 d)`."""
        state, grade = done.state, done.event.grade
        if state is None:
            return ""
        when = words.day(state.due, self.world.today, self.ui)
        if done.turn.role == "practice":
            return self.screen.say("no_change", grade=grade, day=when)
        if state.sm2.drill:
            return self.screen.say("comes_today", grade=grade, day=when)
        return self.screen.say("comes_back", grade=grade, day=when, n=(state.due - self.world.today).days)

    # -- keys that work on both sides -------------------------------------------------------------------------------

    def common(self, key: str, turn: Turn) -> bool:
        """Do what a key says; True if the card is finished with."""
        if key in ("q", ESCAPE):
            raise Leave
        if key == "s":
            self.session.skip()
            self.message = self.screen.say("skipped")
            return True
        if key == "u":
            if self.session.undo(self.world.now()):
                self.message = self.screen.say("undone")
                return True
            self.screen.tell(self.screen.say("nothing_to_undo"))
        elif key == "h":
            self.hint(turn)
        elif key == "p":
            self.predict(turn)
        elif key == "n":
            self.drill(turn)
        elif key == "r":
            self.run_demo(turn)
        elif key == "?":
            self.screen.print(card.indent(Text(row) for row in self.screen.say("help").splitlines()))
        elif key.isprintable() and key.strip():
            self.screen.tell(self.screen.say("unknown_key", key=key))
        return False

    def hint(self, turn: Turn) -> None:
        """The probe of the next key point."""
        if self.hints >= len(turn.points):
            self.screen.tell(self.screen.say("no_hint"))
            return
        point = turn.points[self.hints]
        self.hints += 1
        text = (point.ask if any(point.ask) else point.say).pick(card.languages(self.lang)[-1])
        self.screen.tell(self.screen.say("hint", i=self.hints, n=len(turn.points), text=text))

    def predict(self, turn: Turn) -> None:
        """Take a guess at a number; it goes into the log, and into the answer that follows."""
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
            if not offer_install(error, self.ui, self.keys):
                stored = self.evidence.find(info, settings)
                if stored:
                    show_result(self.screen.console, info, stored, self.ui, self.evidence.versions(info))
            return
        except UserError as error:
            self.screen.tell(str(error))
            return
        except KeyboardInterrupt:
            return
        show_result(self.screen.console, info, run, self.ui)

    def say_message(self) -> None:
        """Where the last answer leads, shown once."""
        if self.message:
            self.screen.tell(self.message)
            self.message = ""
