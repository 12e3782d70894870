"""The lab: what a demo is, how one is found, set, run and judged. Demos import their contract from here."""

from llmprep.lab.contract import Fact, Plot, Result, Series, Table, Text

__all__ = ["Fact", "Plot", "Result", "Series", "Table", "Text"]
