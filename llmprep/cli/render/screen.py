"""Where the quiz draws: a terminal with its width, its language and its keys."""

import shutil
from collections.abc import Iterable

from rich.text import Text

from llmprep.cli import words
from llmprep.cli.context import Context
from llmprep.cli.render import card
from llmprep.cli.render.keys import Keys
from llmprep.cli.render.text import console, fitting, line, wrap


class Screen:
    """Lines out, keys in."""

    def __init__(self, world: Context) -> None:
        self.ui, self.lang = world.ui, world.lang
        self.console = console()
        self.keys = Keys()

    @property
    def width(self) -> int:
        """The width to draw at, which follows the window."""
        if self.keys.terminal:
            self.console.width = fitting(shutil.get_terminal_size().columns)
        return self.console.width

    @property
    def live(self) -> bool:
        """Whether a part of the screen can be drawn again in place."""
        return self.keys.terminal and not self.console.is_dumb_terminal

    def say(self, phrase: str, /, **values: object) -> str:
        """A phrase in the language of the interface."""
        return words.say(self.ui, phrase, **values)

    def print(self, rows: Iterable[Text], *, after: bool = False) -> None:
        """Lines as they are, and with `after` a blank one."""
        for row in rows:
            self.console.print(row)
        if after:
            self.console.print()

    def tell(self, text: str) -> None:
        """A line or two in answer to a key."""
        self.print(card.indent(wrap(line(text), self.width - 2 * card.MARGIN)))

    def dim(self, phrase: str, /, **values: object) -> None:
        """A quiet phrase."""
        self.print(card.indent(wrap(Text(self.say(phrase, **values), "dim"), self.width - 2 * card.MARGIN)))

    def clear(self) -> None:
        """An empty screen for the next card; a pipe just goes on."""
        if self.keys.terminal:
            self.console.clear()
