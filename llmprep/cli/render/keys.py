"""One key at a time from a terminal; whole lines, taken apart into keys, from a pipe."""

import sys
from collections import deque

import typer

ENTER = "\n"
SPACE = " "


class Keys:
    """Reads keys. Raises EOFError at the end of a pipe (or Ctrl-D), KeyboardInterrupt on Ctrl-C."""

    def __init__(self) -> None:
        self.terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._pending: deque[str] = deque()

    @property
    def waiting(self) -> bool:
        """Whether keys of a piped line are still unread."""
        return bool(self._pending)

    def key(self) -> str:
        """The next key; an empty line of a pipe is Enter, `ac4` is three keys."""
        if self.terminal:
            char = typer.getchar()
            if char in ("\r", "\n"):
                return ENTER
            if char == "\x04":
                raise EOFError
            return char
        if not self._pending:
            text = self._line()
            self._pending.extend(text if text.strip() else (SPACE if text else ENTER))
        return self._pending.popleft()

    def line(self, prompt: str) -> str:
        """A typed line; what was left of a piped line comes first."""
        if self._pending:
            text = "".join(self._pending).strip()
            self._pending.clear()
            return text
        print(prompt, end="", flush=True)
        text = self._line()
        if not self.terminal:
            print()
        return text.strip()

    def _line(self) -> str:
        text = sys.stdin.readline()
        if not text:
            raise EOFError
        return text.rstrip("\r\n")
