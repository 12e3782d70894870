"""The lists in pyproject.toml and the tree say the same."""

import tomllib
from pathlib import Path

from llmprep import content

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_every_package_is_listed():
    found = {"llmprep", "llmprep.questions", "llmprep.data", "llmprep.demos"}
    for folder in (ROOT / "llmprep").rglob("__init__.py"):
        if not any(p.is_symlink() for p in folder.parents):
            found.add(".".join(folder.parent.relative_to(ROOT).parts))
    found |= {f"llmprep.demos.{p.parent.name}" for p in (ROOT / "demos").glob("*/__init__.py")}
    assert set(SETTINGS["packages"]) == found


def test_every_data_file_ships():
    patterns = SETTINGS["package-data"]
    for package, folder in (
        ("llmprep.questions", ROOT / "questions"),
        ("llmprep.data", ROOT / "data"),
        ("llmprep.store", ROOT / "llmprep" / "store"),
        ("llmprep.export", ROOT / "llmprep" / "export"),
        ("llmprep", ROOT / "llmprep"),
    ):
        shipped = {p for pattern in patterns[package] for p in folder.glob(pattern)}
        files = folder.glob("**/*" if package in ("llmprep.questions", "llmprep.data") else "*")
        files = {p for p in files if p.is_file() and p.suffix != ".py" and "__pycache__" not in p.parts}
        assert files - shipped == set(), package


def test_demo_folders_are_clusters():
    known = {c.demo_folder for c in content.CLUSTERS.values()}
    assert {p.parent.name for p in (ROOT / "demos").glob("*/__init__.py")} <= known
    assert {p.name for p in (ROOT / "questions").iterdir()} <= {c.folder for c in content.CLUSTERS.values()}


def test_links_of_a_checkout_lead_to_the_content():
    for name in ("demos", "questions", "data"):
        link = ROOT / "llmprep" / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name


def test_evidence_belongs_to_a_demo():
    from llmprep.lab import catalog

    stored = {
        p.relative_to(ROOT / "data" / "evidence").with_suffix("").as_posix()
        for p in ROOT.glob("data/evidence/*/*.json")
    }
    assert stored == set(catalog.demos())
