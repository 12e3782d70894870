"""Fields that a family names in its own way, or whose null means something of its own."""

from collections.abc import Mapping

from llmprep.calc.config import Config
from llmprep.content import Text
from llmprep.errors import UserError

VISION_LEFT_OUT = Text(
    "the language model only: the vision tower and its projector are not counted",
    "只计语言模型，视觉塔和 projector 不计入",
)


class Renamed(Config):
    """A config under the common names of its fields; its errors say the name that the file uses.

    `names` lists for a common name those that a file may use. The first that the file has counts, as transformers
    reads it; the last is the one to ask for.
    """

    def __init__(self, config: Config, names: Mapping[str, tuple[str, ...]]) -> None:
        self.shown = {
            common: next((name for name in found if config.has(name)), found[-1]) for common, found in names.items()
        }
        renamed = {common: config.fields.get(name) for common, name in self.shown.items()}
        super().__init__({**config.fields, **renamed}, config.source)

    def divide(self, name: str, whole: int, by: str, parts: int) -> int:
        """As for any config, with the file's names in the error."""
        return super().divide(name, whole, self.shown.get(by, by), parts)

    def error(self, name: str, what: str) -> UserError:
        """As for any config, with the file's name of the field."""
        return super().error(self.shown.get(name, name), what)


def unless_null(config: Config, name: str, default: int) -> int | None:
    """The default of a field that is absent; None where null is said, as a sliding_window of null means no window."""
    return None if name in config.fields else default


def both_sides(window: int) -> int:
    """Tokens that a query sees of a window which is centred on it: half of it on each side, and itself."""
    return 2 * (window // 2) + 1
