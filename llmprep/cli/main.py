"""The `llmprep` command: its options, its commands, and the one place where errors become exit codes."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from llmprep import __version__
from llmprep.cli.context import make_context
from llmprep.errors import Exit, UserError

# Which module of cli/commands holds which command; only the one that is called gets imported.
COMMANDS = {
    "quiz": "practise",
    "undo": "practise",
    "list": "bank",
    "show": "bank",
    "search": "bank",
    "bank": "bank",
    "demo": "demo",
    "verify": "proof",
    "stats": "progress",
    "doctor": "progress",
    "calc": "calc",
    "export": "export",
}

app = typer.Typer(
    name="llmprep",
    help="LLM interview questions in English and Chinese, each with a demo that measures the answer.",
    epilog="First day: llmprep quiz · llmprep show kv-cache · llmprep demo run kv_cache",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def register(arguments: Sequence[str]) -> None:
    """Add the commands that these arguments may mean: the named ones, none for a bare call, else all."""
    named = {COMMANDS[word] for word in arguments if word in COMMANDS}
    wanted = named or (dict.fromkeys(COMMANDS.values()) if arguments or "_LLMPREP_COMPLETE" in os.environ else ())
    for module in wanted:
        import_module(f"llmprep.cli.commands.{module}").register(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"llmprep {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    bank_dir: Annotated[
        Path | None, typer.Option("--bank", metavar="DIR", help="Work on another folder of questions.")
    ] = None,
    lang: Annotated[
        str | None, typer.Option(metavar="en|zh|both", help="Language; the default follows your locale.")
    ] = None,
    version: Annotated[  # noqa: ARG001  (its callback acts)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Without a command: today at a glance."""
    context.obj = make_context(bank_dir, lang)
    if context.invoked_subcommand is None:
        from llmprep.cli.render.today import show_today

        show_today(context.obj)


def main() -> None:
    """Run the command line; mistakes of the person end in one line on stderr and exit code 1 or 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and (stream.encoding or "").lower() not in ("utf-8", "utf8"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        register(sys.argv[1:])
        code = app(standalone_mode=False, prog_name="llmprep")
        sys.stdout.flush()
    except UserError as error:
        _fail(str(error), error.code)
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        if message.startswith("Usage:"):  # a group without a command
            print(message)
            sys.exit(Exit.USAGE)
        _fail(" ".join(message.split()), Exit.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        _fail("stopped", 130)
    except (BrokenPipeError, SystemExit) as end:
        # whoever read our output has enough of it; Rich and Typer turn that into an exit with code 1
        if not isinstance(end, BrokenPipeError) and not isinstance(end.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.OK)
    sys.exit(code if isinstance(code, int) else Exit.OK)


def _fail(message: str, code: int) -> None:
    print(f"llmprep: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
