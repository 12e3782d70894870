"""From a config.json to a shape: one function a family, found by `model_type`.

To add a family, write a function that reads its config.json into a `Shape` and name it in `FAMILIES`. Absent fields
take the defaults of transformers; a test counts random configs of every family on the meta device and compares.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmprep import content
from llmprep.calc.config import Config, read
from llmprep.calc.families import deepseek, dense, encoders, gemma, gpt, hybrid, llama, llama4, moe, opt, phi, t5
from llmprep.calc.shapes import Shape
from llmprep.errors import UserError, did_you_mean

FAMILIES: dict[str, Callable[[Config], Shape]] = {
    **llama.FAMILIES,
    **gpt.FAMILIES,
    **opt.FAMILIES,
    **phi.FAMILIES,
    **gemma.FAMILIES,
    **dense.FAMILIES,
    **encoders.FAMILIES,
    **t5.FAMILIES,
    **moe.FAMILIES,
    **llama4.FAMILIES,
    **deepseek.FAMILIES,
    **hybrid.FAMILIES,
}


def from_config(config: Config) -> Shape:
    """The shape that a config describes.

    Raises UserError for a family that is not in `FAMILIES`, a field that is missing, or fields that contradict each
    other.
    """
    family = config.get("model_type")
    if family is None:
        kind = config.get("_class_name")
        what = f"this is the config of a diffusers {kind}" if kind else "it names no family of models"
        raise UserError(f"{config.source}: model_type is missing: {what}; expected a transformers config.json")
    if not isinstance(family, str) or family not in FAMILIES:
        hint = did_you_mean(str(family), FAMILIES)
        known = ", ".join(sorted(FAMILIES))
        raise UserError(
            f"{config.source}: model_type {family!r} is not a family that is counted{hint} (known: {known})"
        )
    if config.has("per_layer_config"):
        raise config.error("per_layer_config", "gives single layers widths of their own, which is not counted")
    return FAMILIES[family](config)


def of(name: str, **changes: Any) -> Shape:
    """The shape of a model in data/models.json, with some fields of its config changed."""
    entry = content.model(name)
    return shape({**entry["config"], **changes}, entry["model_type"], name)


def shape(fields: Mapping[str, Any], model_type: str, source: str = "config") -> Shape:
    """The shape of a config given as a mapping."""
    return from_config(Config({"model_type": model_type, **fields}, source))


def from_file(path: Path) -> Shape:
    """The shape in a config.json, or in the folder that holds one."""
    return from_config(read(path))
