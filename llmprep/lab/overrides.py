"""From `--set seq_len=4096` or a YAML mapping to a demo's Params, with errors that name the way out."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from llmprep.errors import UserError, did_you_mean

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """`["seq_len=4096"]` → `{"seq_len": "4096"}`; raises UserError for anything without `=`."""
    out = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UserError(f"--set {pair!r}: expected NAME=VALUE, for example --set seq_len=4096")
        out[name.strip()] = value.strip()
    return out


def make_params(params_class: type, settings: Mapping[str, Any], where: str) -> Any:
    """The demo's Params with some fields replaced; `where` begins each error.

    Raises UserError for an unknown name, a value of the wrong type, or one that Params itself refuses.
    """
    hints = get_type_hints(params_class)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(params_class)}
    check_names(fields, settings, where)
    values = {name: _convert(value, fields[name], f"{where}: {name}") for name, value in settings.items()}
    try:
        return params_class(**values)
    except (ValueError, UserError) as error:
        raise UserError(f"{where}: {error}") from None


def check_names(known: Iterable[str], settings: Iterable[str], where: str) -> None:
    """Raises UserError for a setting that is no parameter, with a suggestion."""
    fields = list(known)
    for name in settings:
        if name not in fields:
            hint = did_you_mean(name, fields) or f" (known: {', '.join(fields)})"
            raise UserError(f"{where}: no parameter {name!r}{hint}")


def _convert(value: Any, kind: Any, where: str) -> Any:
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        for choice in choices:
            if str(value) == str(choice):
                return choice
        raise UserError(f"{where}={value}: expected one of {', '.join(map(str, choices))}")
    wrong = UserError(f"{where}={value}: expected {_WORDS.get(kind, kind)}")
    if kind is bool:
        word = str(value).lower()
        if word not in ("true", "false"):
            raise wrong
        return word == "true"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise wrong
    try:
        return kind(value)
    except ValueError:
        raise wrong from None
