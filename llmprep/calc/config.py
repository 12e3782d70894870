"""A Hugging Face config.json, read with care: every error names the file and the field."""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from llmprep.errors import UserError

_ABSENT: Any = object()
MOST, MOST_LAYERS = 10**9, 10_000  # far above any model: more is a broken file


class Config:
    """The fields of a config.json and where they came from.

    A field that is null counts as absent, as most families of transformers read it; where null means something of
    its own, `null` says what.
    """

    def __init__(self, fields: Mapping[str, Any], source: str) -> None:
        self.fields = fields
        self.source = source

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.fields.get(name) is not None

    def get(self, name: str, default: Any = None) -> Any:
        """A field as it is, or `default` where it is absent or null."""
        value = self.fields.get(name)
        return default if value is None else value

    def size(self, name: str, default: int | None = None, *, null: Any = _ABSENT, least: int = 1) -> int:
        """A whole number of at least `least`; UserError if it is missing without a default, or is something else."""
        if null is not _ABSENT and name in self.fields and self.fields[name] is None:
            return int(null)
        value = self.get(name, default)
        if value is None:
            raise self.error(name, f"is missing; a {self.fields.get('model_type', 'model')} needs it")
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            kind = "a positive whole number" if least == 1 else f"a whole number of at least {least}"
            raise self.error(name, f"must be {kind}, not {value!r}")
        most = MOST_LAYERS if "layer" in name else MOST
        if value > most:
            raise self.error(name, f"must be at most {most:,}")
        return value

    def maybe_size(self, name: str, default: int | None = None) -> int | None:
        """As `size`, but None where the field is absent or null."""
        return self.size(name) if self.has(name) else default

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise self.error(name, f"must be true or false, not {value!r}")
        return value

    def number(self, name: str, default: float) -> float:
        """Any finite number."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise self.error(name, f"must be a number, not {value!r}")
        return float(value)

    def word(self, name: str, default: str) -> str:
        """A string."""
        value = self.get(name, default)
        if not isinstance(value, str):
            raise self.error(name, f"must be a word, not {value!r}")
        return value

    def items(self, name: str, length: int | None = None) -> list[Any] | None:
        """A list, of the given length if one is given; None where the field is absent or null."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise self.error(name, f"must be a list{f' of {length} entries, one a layer' if length else ''}")
        return value

    def part(self, name: str, model_type: str = "") -> "Config":
        """A config inside the config, such as text_config; empty where it is absent.

        A `model_type` is added for error messages where the inner one names none.
        """
        value = self.get(name, {})
        if not isinstance(value, dict):
            raise self.error(name, "must be an object")
        return Config({"model_type": model_type} | value if model_type else value, f"{self.source}: {name}")

    def divide(self, name: str, whole: int, by: str, parts: int) -> int:
        """`whole / parts`; UserError where that leaves a rest."""
        if whole % parts:
            raise self.error(name, f"{whole} is not divisible by {by} {parts}")
        return whole // parts

    def error(self, name: str, what: str) -> UserError:
        """An error that names the file and the field."""
        return UserError(f"{self.source}: {name} {what}")


def read(path: Path) -> Config:
    """The config.json at a path, or in the folder at that path. Raises UserError for anything that is not one."""
    file = path / "config.json" if path.is_dir() else path
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; --config takes a Hugging Face config.json or its folder") from None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: not valid JSON: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError, ValueError):
        raise UserError(f"{file}: not a JSON text in UTF-8") from None
    if not isinstance(fields, dict):
        raise UserError(f"{file}: expected an object with fields such as model_type and hidden_size")
    return Config(fields, str(file))
