"""What is in an ONNX file, and who fuses the operators?

An ONNX file is a graph of standard operators plus the weights: no Python, no kernels. Export runs the model once on
symbolic tensors and writes down the operators that it saw, so sizes that were not declared dynamic are frozen. Fusion
comes later and elsewhere: ONNX Runtime rewrites the graph while it loads it, into operators of its own, and other
runtimes do it their way. Whether the result still is the model is a question to test, on other inputs than the one
that was exported.

Legend: B batch, T tokens, H heads, D head_dim. Needs the packages onnx, onnxruntime and onnxscript.
"""

import contextlib
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


class EncoderLayer(nn.Module):
    """A layer of BERT: attention and FFN, each with a residual and a LayerNorm after it."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(d_model, d_model) for _ in range(4))
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H·D) → the same shape."""
        q, k, v = (w(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (B, H, T, T)
        attended = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)  # (B, T, H·D)
        x = self.norm1(x + self.wo(attended))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporter warns about torchvision and about its own internals."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(level)


def export(model: nn.Module, example: Tensor, dynamic: bool) -> Any:
    """Trace the model on one example into a standard graph; `dynamic` leaves batch and length open."""
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} if dynamic else None
    with quiet():
        program = torch.onnx.export(model, (example,), dynamo=True, dynamic_shapes=(sizes,), verbose=False)
    return program.model_proto


def load(proto: Any, optimisation: str) -> tuple[Any, Counter[str]]:
    """Open the graph with ONNX Runtime: a session, and the operators that it really runs after its rewriting."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel,
        "ORT_DISABLE_ALL" if optimisation == "none" else f"ORT_ENABLE_{optimisation.upper()}",
    )
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "rewritten.onnx")
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
        return session, operators(onnx.load(options.optimized_model_filepath))


def call(session: Any, x: Tensor) -> Tensor | None:
    """The output of the runtime, or None if it refuses a tensor of this shape."""
    from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

    try:
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
    except InvalidArgument:
        return None


def operators(proto: Any) -> Counter[str]:
    """How often each operator occurs; those outside the ONNX standard carry the name of their domain."""
    return Counter(f"{node.domain}.{node.op_type}".removeprefix("ai.onnx").lstrip(".") for node in proto.graph.node)


def weight_bytes(proto: Any) -> int:
    """Bytes of the tensors stored in the file; scalars and shapes are constants of the graph, no weights."""
    from onnx import numpy_helper

    tensors = [numpy_helper.to_array(t) for t in proto.graph.initializer]
    return sum(t.nbytes for t in tensors if t.dtype.kind == "f" and t.size > 1)


@dataclass(frozen=True)
class Params:
    n_layers: int = 2
    d_model: int = 64
    n_heads: int = 4
    optimisation: Literal["none", "basic", "extended", "all"] = "all"  # level of ONNX Runtime, which loads the file
    dynamic: bool = True  # declare batch and length dynamic when exporting
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_layers <= 4:
            raise ValueError("n_layers must be between 1 and 4: export takes seconds")
        if self.n_heads < 1 or self.d_model % self.n_heads or not 1 < self.d_model // self.n_heads <= 256:
            raise ValueError("d_model must be a multiple of n_heads, with 2 to 256 numbers a head")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        model = nn.Sequential(*(EncoderLayer(p.d_model, p.n_heads) for _ in range(p.n_layers))).eval()
        for w in model.parameters():
            nn.init.normal_(w, std=p.d_model**-0.5)  # fresh LayerNorms are all alike, and the file would store one
        shapes = [(2, 16), (2, 7), (1, 16), (3, 40)]  # the first one is exported
        inputs = [torch.randn(*shape, p.d_model) for shape in shapes]
        expected = [model(x) for x in inputs]
        proto = export(model, inputs[0], p.dynamic)

    exported = operators(proto)
    session, running = load(proto, p.optimisation)
    answers = [(call(session, x), y) for x, y in zip(inputs, expected, strict=True)]
    mismatches = sum(int((got - y).abs().gt(1e-4).sum()) for got, y in answers if got is not None)
    accepted = sum(got is not None for got, _ in answers)

    def foreign(ops: Counter[str]) -> int:
        return sum(n for op, n in ops.items() if "." in op)

    facts = [
        Fact("mismatches", "outputs", mismatches, predicted=0),
        Fact("shapes_tried", "shapes", len(shapes)),
        Fact("shapes_accepted", "shapes", accepted, predicted=len(shapes) if p.dynamic else 1),
        Fact("exported_nodes", "nodes", exported.total()),
        Fact("runtime_nodes", "nodes", running.total()),
        Fact("exported_foreign", "nodes", foreign(exported), predicted=0),
        Fact("fused_nodes", "nodes", foreign(running)),
        Fact("weight_bytes", "B", weight_bytes(proto), sum(w.nbytes for w in model.parameters())),
    ]
    names = sorted({*exported, *running}, key=lambda op: (-exported[op], op))
    return Result(
        takeaway=Text(
            en=f"{exported.total()} standard operators in the file, {running.total()} at run time ({p.optimisation}), "
            f"{foreign(running)} of them ONNX Runtime's own; {mismatches} outputs differ from torch.",
            zh=f"文件里有 {exported.total()} 个标准算子，运行时（{p.optimisation}）有 {running.total()} 个，"
            f"{foreign(running)} 个是 ONNX Runtime 自己的算子；与 torch 相比，{mismatches} 个输出不一致。",
        ),
        facts=facts,
        table=Table(("operator", "in the file", "at run time"), [(op, exported[op], running[op]) for op in names]),
        plot=Plot(
            "Operators in the file and at run time",
            "operator",
            "nodes",
            [
                Series("in the file", names, [exported[op] for op in names]),
                Series("at run time", names, [running[op] for op in names]),
            ],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
