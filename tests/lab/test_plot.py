from pathlib import Path

import pytest

from llmprep.errors import UserError
from llmprep.lab.contract import Plot, Series

LINE = Plot("t", "x", "y", [Series("a", [1, 10], [1, 2]), Series("b", [1, 10], [2, 3])], log_x=True)
BAR = Plot("t", "x", "y", [Series("a", ["one", "two"], [1, 2])], kind="bar")


@pytest.mark.parametrize("plot", [LINE, BAR], ids=["line", "bar"])
@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_draws_into_a_file(tmp_path, plot, suffix):
    pytest.importorskip("matplotlib")
    from llmprep.lab.plot import draw

    path = tmp_path / f"plot{suffix}"
    draw(plot, path)
    start = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(start)


def test_an_svg_names_its_series_and_axes(tmp_path):
    pytest.importorskip("matplotlib")
    from llmprep.lab.plot import draw

    path = tmp_path / "plot.svg"
    draw(LINE, path)
    text = path.read_text()
    assert all(f"<!-- {name} -->" in text for name in ("a", "b", "x", "y"))


def test_bars_differ_by_more_than_colour(monkeypatch):
    axes = drawn(Plot("t", "x", "y", [Series(n, ["one", "two"], [1, 2]) for n in "abc"], kind="bar"), monkeypatch)
    assert len({group[0].get_hatch() for group in axes.containers}) == 3


@pytest.mark.parametrize(("last", "plain"), [(4, True), (1000, False)])
def test_a_short_log_axis_has_plain_numbers(monkeypatch, last, plain):
    axes = drawn(Plot("t", "x", "y", [Series("a", [1, last], [1, 2])], log_x=True), monkeypatch)
    labels = [tick.get_text() for tick in [*axes.get_xticklabels(), *axes.get_xticklabels(minor=True)]]
    assert ("2" in labels) == plain
    assert any("10^" in label for label in labels) != plain


def drawn(plot, monkeypatch):
    """The axes of a plot, kept from going into a file."""
    figure = pytest.importorskip("matplotlib.figure")
    from llmprep.lab.plot import draw

    figures = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *_, **__: figures.append(self))
    draw(plot, Path("unused.svg"))
    figures[0].canvas.draw()
    return figures[0].axes[0]


@pytest.mark.parametrize(("name", "says"), [("x.gif", "ends in"), ("there.svg", "--force"), ("no/x.svg", "no folder")])
def test_refuses_a_target_before_running(tmp_path, name, says):
    from llmprep.lab.plot import check_target

    (tmp_path / "there.svg").write_text("mine")
    with pytest.raises(UserError, match=says):
        check_target(tmp_path / name, force=False)
    if name == "there.svg":
        check_target(tmp_path / name, force=True)
