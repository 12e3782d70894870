"""One key at a time from a terminal; whole lines, taken apart into keys, from a pipe."""

import os
import select
import sys
from collections import deque
from types import TracebackType
from typing import Self

import typer

try:
    import termios
    import tty
except ImportError:  # Windows: typer reads keys there
    termios = None  # type: ignore[assignment]

ENTER = "\n"
SPACE = " "
ESCAPE = "\x1b"
END = "\x04"  # Ctrl-D


class Keys:
    """Reads keys. Raises EOFError at the end of a pipe (or Ctrl-D), KeyboardInterrupt on Ctrl-C.

    In a `with` statement the terminal gives keys at once and unechoed, also those typed while a card is being drawn.
    """

    def __init__(self) -> None:
        self.terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._pending: deque[str] = deque()
        self._cooked: list[object] | None = None

    def __enter__(self) -> Self:
        if self.terminal and termios is not None:
            self._cooked = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin, termios.TCSANOW)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cooked is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._cooked)  # type: ignore[arg-type]
            self._cooked = None

    @property
    def waiting(self) -> bool:
        """Whether keys of a piped line are still unread."""
        return bool(self._pending)

    def key(self) -> str:
        """The next key; an empty line of a pipe is Enter, `ac4` is three keys."""
        if self.terminal:
            char = typer.getchar() if self._cooked is None else self._read()
            if char == END:
                raise EOFError
            return ENTER if char == "\r" else char
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
        raw = self._cooked
        self.__exit__(None, None, None)
        try:
            text = self._line()
        finally:
            if raw is not None:
                self.__enter__()
        if not self.terminal:
            print()
        return text.strip()

    def _read(self) -> str:
        """One character; the rest of an arrow key or another escape sequence is swallowed with it."""
        first = os.read(sys.stdin.fileno(), 1)
        if not first:
            raise EOFError
        if first == b"\x1b":
            sequence = b""
            while select.select([sys.stdin], [], [], 0.02)[0]:
                sequence += os.read(sys.stdin.fileno(), 16)
            return "" if sequence else ESCAPE
        more = 0 if first[0] < 0xC0 else 1 if first[0] < 0xE0 else 2 if first[0] < 0xF0 else 3
        return (first + b"".join(os.read(sys.stdin.fileno(), 1) for _ in range(more))).decode("utf-8", "replace")

    def _line(self) -> str:
        text = sys.stdin.readline()
        if not text:
            raise EOFError
        return text.rstrip("\r\n")
