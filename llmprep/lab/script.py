"""Lets `python demos/inference/kv_cache.py --set seq_len=4096` do what `llmprep demo run` does."""

import runpy
import sys


def main(file: str) -> None:
    """Run the demo in `file` through the command line, with this script's own arguments."""
    sys.argv = ["llmprep", "demo", "run", file, *sys.argv[1:]]
    runpy.run_module("llmprep", run_name="__main__", alter_sys=True)
