"""One key at a time from a terminal; whole lines, taken apart into keys, from a pipe."""

import os
import select
import signal
import sys
from collections import deque
from types import FrameType, TracebackType
from typing import Any, Self

import typer

try:
    import termios
    import tty
except ImportError:  # Windows: typer reads keys there
    termios = None  # type: ignore[assignment]

ENTER = "\n"
SPACE = " "
NOTHING = ""  # an arrow key, Escape, pasted text, or the return from a pause: draw again, do nothing
END = "\x04"  # Ctrl-D
SHOW_CURSOR, PASTE_ON, PASTE_OFF = "\x1b[?25h", "\x1b[?2004h", "\x1b[?2004l"


class Keys:
    """Reads keys. Raises EOFError at the end of a pipe (or Ctrl-D), KeyboardInterrupt on Ctrl-C.

    In a `with` statement the terminal gives keys at once and unechoed, also those typed while a card is being drawn;
    Ctrl-Z gives it back as it was, and `fg` takes it again.
    """

    def __init__(self) -> None:
        self.terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._pending: deque[str] = deque()
        self._cooked: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._reading = False

    def __enter__(self) -> Self:
        if self.terminal and termios is not None:
            self._take()
            for number, handler in ((signal.SIGTSTP, self._pause), (signal.SIGTERM, _leave)):
                self._handlers[number] = signal.signal(number, handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

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
        raw = self._cooked is not None
        self._give_back()
        try:
            text = self._line()
        finally:
            if raw:
                self._take()
        if not self.terminal:
            print()
        return text.strip()

    def _take(self) -> None:
        self._cooked = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin, termios.TCSANOW)
        print(PASTE_ON, end="", flush=True)

    def _give_back(self) -> None:
        if self._cooked is not None:
            print(SHOW_CURSOR + PASTE_OFF, end="", flush=True)
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._cooked)
            self._cooked = None

    def _pause(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: stop as any program does, and go on when the shell says so."""
        del frame
        raw = self._cooked is not None
        self._give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._pause)
        if raw:
            self._take()
            termios.tcflush(sys.stdin, termios.TCIFLUSH)
        if self._reading:
            raise _Resumed

    def _read(self) -> str:
        """One character; an escape sequence (an arrow key, pasted text) is swallowed whole."""
        self._reading = True
        try:
            first = os.read(sys.stdin.fileno(), 1)
        except _Resumed:
            return NOTHING
        finally:
            self._reading = False
        if not first:
            raise EOFError
        if first == b"\x1b":
            self._swallow()
            return NOTHING
        more = 0 if first[0] < 0xC0 else 1 if first[0] < 0xE0 else 2 if first[0] < 0xF0 else 3
        return (first + b"".join(os.read(sys.stdin.fileno(), 1) for _ in range(more))).decode("utf-8", "replace")

    def _swallow(self) -> None:
        sequence = b""
        while select.select([sys.stdin], [], [], 0.05)[0]:
            part = os.read(sys.stdin.fileno(), 1)
            sequence += part
            pasting = sequence.startswith(b"[200~")
            if not part or sequence.endswith(b"\x1b[201~"):
                return
            if not pasting and not b"[200~".startswith(sequence) and sequence[-1:].isalpha() | sequence.endswith(b"~"):
                return

    def _line(self) -> str:
        if self.terminal and termios is not None:
            text = os.read(sys.stdin.fileno(), 4096).decode("utf-8", "replace")  # one line: the terminal edits it
        else:
            text = sys.stdin.readline()
        if not text:
            raise EOFError
        return text.rstrip("\r\n")


class _Resumed(Exception):  # noqa: N818  (a return from a pause, not an error)
    """The shell has brought the program back while it waited for a key."""


def _leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM: end, but give the terminal back first."""
    del frame
    raise SystemExit(128 + number)
