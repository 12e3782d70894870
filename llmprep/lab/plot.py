"""A plot as SVG, PNG or PDF, by matplotlib (an extra: the terminal draws its own)."""

from pathlib import Path
from typing import TYPE_CHECKING

from llmprep.errors import MissingExtraError, UserError
from llmprep.lab.contract import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".svg", ".png", ".pdf")
HATCHES = ("", "//", "..", "xx", "\\\\", "oo", "--", "++")


def check_target(path: Path, *, force: bool) -> None:
    """Raises UserError if the plot could not be written there."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"--plot {path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if path.exists() and not force:
        raise UserError(f"--plot {path}: exists already; --force replaces it")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--plot {path}: no folder {path.parent}")


def draw(plot: Plot, path: Path) -> None:
    """Draw a plot into a file. Raises MissingExtraError without matplotlib, UserError if it cannot be written."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError("matplotlib") from None
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    if plot.kind == "bar":
        names = [str(x) for x in plot.series[0].x]
        share = 0.8 / len(plot.series)
        for i, series in enumerate(plot.series):
            places = [n + (i - (len(plot.series) - 1) / 2) * share for n in range(len(names))]
            hatch = HATCHES[i % len(HATCHES)]
            axes.bar(places, list(series.y), width=share, label=series.label, hatch=hatch, edgecolor="white")
        axes.set_xticks(range(len(names)), names, rotation=30 if max(map(len, names)) > 9 else 0)
    else:
        for series, marker in zip(plot.series, "osD^vPX*" * 4, strict=False):
            axes.plot(list(series.x), list(series.y), marker=marker, markersize=4, linewidth=1.4, label=series.label)
    if plot.log_x:
        axes.set_xscale("log")
    if plot.log_y:
        axes.set_yscale("log")
    _plain_ticks(axes)
    axes.set(title=plot.title, xlabel=plot.x_label, ylabel=plot.y_label)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(plot.series) > 1:
        axes.legend(frameon=False, fontsize="small")
    try:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise UserError(f"--plot {path}: cannot be written ({error.strerror})") from None


def _plain_ticks(axes: "Axes") -> None:
    """Write 200 rather than 2×10² along a log axis that spans less than a decade."""
    from matplotlib.ticker import StrMethodFormatter

    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if axis.get_scale() == "log" and high < 10 * low:
            axis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
            axis.set_minor_formatter(StrMethodFormatter("{x:,.10g}"))
