"""The outside world, in one place: clock, environment, language, folders."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llmprep import content
from llmprep.errors import UserError

if TYPE_CHECKING:
    from llmprep.bank.index import Bank
    from llmprep.lab.evidence import Evidence
    from llmprep.store.log import ReviewLog

ROLLOVER = timedelta(hours=4)  # a night owl's day ends at 04:00
LANGUAGES = ("en", "zh", "both")


class Context(NamedTuple):
    """What a command needs to know of the world. `lang` may be "both"; `ui` is the language of the interface."""

    bank_dir: Path
    data_dir: Path
    cache_dir: Path
    lang: str
    ui: str
    now: Callable[[], datetime]

    @property
    def today(self) -> date:
        """The person's local day."""
        return local_day(self.now())

    @property
    def log_path(self) -> Path:
        """The review log."""
        return self.data_dir / "reviews.db"

    @property
    def own_bank(self) -> bool:
        """Whether the bank is one that the person added."""
        return self.bank_dir.resolve() != content.questions_dir()

    def bank(self, *, quick: bool = False) -> "Bank":
        """The bank, indexed; a file of it that cannot be used is named on stderr.

        `quick` spares a start the look at every file of a large one.
        """
        from llmprep.bank.index import open_bank

        bank = open_bank(self.bank_dir, self.cache_dir, quick=quick)
        problems = bank.problems()
        if problems:
            more = f" (and {len(problems) - 1} more; llmprep bank check shows all)" if problems[1:] else ""
            print(f"llmprep: {problems[0]}{more}", file=sys.stderr)
        return bank

    def log(self, *, create: bool = False) -> "ReviewLog":
        """The review log; without `create` an empty one stands in for a file that is not there yet."""
        from llmprep.store.log import ReviewLog

        return ReviewLog.open(self.log_path, create=create)

    def evidence(self) -> "Evidence":
        """Stored measurements: those beside an added bank first, then the built-in ones."""
        from llmprep.lab.evidence import Evidence

        return Evidence([*([self.bank_dir / "evidence"] if self.own_bank else []), content.data_dir() / "evidence"])

    @property
    def evidence_dir(self) -> Path:
        """Where `verify --record` writes."""
        return self.bank_dir / "evidence" if self.own_bank else content.data_dir() / "evidence"


def local_day(moment: datetime) -> date:
    """The local day that a moment counts to: 03:59 still belongs to yesterday."""
    return (moment.astimezone() - ROLLOVER).date()


def make_context(bank: Path | None, lang: str | None) -> Context:
    """Read the environment: LLMPREP_BANK, LLMPREP_HOME, LLMPREP_NOW, LLMPREP_LANG and the locale."""
    chosen = lang or os.environ.get("LLMPREP_LANG") or _locale_language()
    if chosen not in LANGUAGES:
        raise UserError(f"--lang {chosen}: expected one of {', '.join(LANGUAGES)}")
    where = bank or os.environ.get("LLMPREP_BANK")
    data_dir, cache_dir = _folders()
    return Context(
        bank_dir=Path(where).expanduser() if where else content.questions_dir(),
        data_dir=data_dir,
        cache_dir=cache_dir,
        lang=chosen,
        ui=_locale_language() if chosen == "both" else chosen,
        now=_clock(),
    )


def _folders() -> tuple[Path, Path]:
    home = os.environ.get("LLMPREP_HOME")
    if home:
        root = Path(home).expanduser()
        return root, root / "cache"
    import platformdirs

    return (
        platformdirs.user_data_path("llmprep", appauthor=False),
        platformdirs.user_cache_path("llmprep", appauthor=False),
    )


def _locale_language() -> str:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name)
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def _clock() -> Callable[[], datetime]:
    fixed = os.environ.get("LLMPREP_NOW")
    if not fixed:
        return lambda: datetime.now().astimezone()
    moment = None
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(f"{fixed}T12:00" if len(fixed) == 10 else fixed).astimezone()
    if moment is None or not 1970 <= moment.year < 2200:
        raise UserError(f"LLMPREP_NOW={fixed}: expected an ISO time such as 2026-12-20T09:00")
    return lambda: moment


def interactive() -> bool:
    """Whether a person sits at the other end of input and output."""
    return sys.stdin.isatty() and sys.stdout.isatty()
