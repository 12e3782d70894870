"""How much faster than a dense model is a mixture of experts, at which batch?

Two ratios, and the scarcer resource picks one. FLOPs per token follow the active parameters, whatever the batch. Bytes
per step follow the experts that the batch touches: few at batch 1, nearly all from a few dozen tokens on, and then a
step reads the whole model. So the advantage is large at batch 1, shrinks to the ratio of total sizes while both models
wait for memory, starts back once the dense one is compute bound, and is whole again when both are, which takes the
sparse model a much larger batch. Counted here: weights and matmuls with them; not the KV cache, attention scores, or
all-to-all traffic. Perfect sharding divides both models by the same number of chips, so the ratio stands for any
number.

Legend: B tokens in a step (one per request in decode), N experts, k per token.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from llmprep import content
from llmprep.demos.special.active_parameters import FAMILIES, count_model, formula_active, n_experts
from llmprep.demos.special.experts_touched import formula_touched, mean_touched
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

BYTES = 2  # BF16
TRIALS = 400  # batches drawn per measurement


class Weights(NamedTuple):
    """Parameters that every token passes, and those of all routed experts together."""

    always: int
    experts: int


def weights_of(model: str) -> Weights:
    """Everything but the routed experts is what remains active with none of them chosen."""
    entry = content.model(model)
    if "active" not in entry:
        return Weights(entry["params_total"], 0)
    always = formula_active(entry["params_total"], entry["config"], top_k=0)
    return Weights(always, entry["params_total"] - always)


def step_seconds(w: Weights, chip: dict[str, Any], B: int, chosen_share: float, touched_share: float) -> float:
    """Roofline of both groups of matmuls: 2 FLOPs per weight and token, and each weight is read once a step."""
    peak, bandwidth = chip["flops"]["bf16"], chip["bandwidth"]
    always = max(2 * B * w.always / peak, BYTES * w.always / bandwidth)
    experts = max(2 * B * chosen_share * w.experts / peak, BYTES * touched_share * w.experts / bandwidth)
    return always + experts


@dataclass(frozen=True)
class Params:
    sparse: str = "mixtral-8x7b"  # a Mixtral, Qwen3 MoE or DeepSeek-V3 in data/models.json
    dense: str = "llama-2-70b"  # a dense model in data/models.json
    hardware: str = "h100-sxm"  # a name in data/hardware.yaml with a BF16 peak
    batch: int = 32  # B, tokens in a step
    top_k: int = 0  # experts per token; 0: as released
    seed: int = 0

    def __post_init__(self) -> None:
        if content.model(self.sparse)["model_type"] not in FAMILIES or "active" in content.model(self.dense):
            raise ValueError(f"sparse must be one of the families {', '.join(FAMILIES)}, and dense must be dense")
        if not 0 <= self.top_k <= n_experts(content.model(self.sparse)["config"]):
            raise ValueError("top_k must be 0 (as released) or at most the number of experts")
        if not 1 <= self.batch <= 8192 or "bf16" not in content.hardware(self.hardware)["flops"]:
            raise ValueError("batch must be between 1 and 8,192, and hardware must have a BF16 peak")


def run(p: Params) -> Result:
    config, chip = content.model(p.sparse)["config"], content.hardware(p.hardware)
    N, k = n_experts(config), p.top_k or config["num_experts_per_tok"]
    sparse, dense = weights_of(p.sparse), weights_of(p.dense)
    total, active = count_model(p.sparse, k)

    def compare(B: int, touched: float) -> tuple[float, float]:
        """(bytes, time) of the dense model over those of the sparse one."""
        step_bytes = sparse.always + touched / N * sparse.experts
        seconds = step_seconds(sparse, chip, B, k / N, touched / N)
        return dense.always / step_bytes, step_seconds(dense, chip, B, 0, 0) / seconds

    drawn = mean_touched(N, k, min(p.batch, 256), TRIALS, p.seed) if p.batch <= 256 else N
    bytes_ratio, speedup = compare(p.batch, drawn)
    bytes_predicted, speedup_predicted = compare(p.batch, formula_touched(N, k, p.batch))
    batches = [2**i for i in range(14)]
    by_batch = [(B, formula_touched(N, k, B), *compare(B, formula_touched(N, k, B))) for B in batches]
    compute_ratio = dense.always / active
    return Result(
        takeaway=Text(
            en=f"{p.sparse} against {p.dense} on {p.hardware}: {compute_ratio:.2f} times fewer FLOPs per token; at "
            f"batch {p.batch} a step reads {bytes_ratio:.2f} times fewer bytes and is at most "
            f"{speedup:.2f} times as fast.",
            zh=f"{p.hardware} 上 {p.sparse} 对比 {p.dense}：每个 token 的 FLOPs 是后者的 1/{compute_ratio:.2f}；"
            f"batch 为 {p.batch} 时每步读取的字节是 1/{bytes_ratio:.2f}，速度上限是 {speedup:.2f} 倍。",
        ),
        facts=[
            Fact("compute_ratio", "×", compute_ratio),
            Fact("active_b", "10⁹ parameters", active / 1e9),
            Fact("dense_b", "10⁹ parameters", dense.always / 1e9),
            Fact("size_ratio", "×", dense.always / total),
            Fact("touched", "experts", drawn),
            Fact("bytes_ratio", "×", bytes_ratio, bytes_predicted, rtol=0.05),
            Fact("speedup", "×", speedup, speedup_predicted, rtol=0.05),
            Fact("lowest_speedup", "×", min(row[3] for row in by_batch)),
        ],
        table=Table(("tokens in a step", "experts touched", "bytes, dense over sparse", "speed-up (×)"), by_batch),
        plot=Plot(
            f"{p.sparse} against {p.dense} on {p.hardware}, weights only",
            "tokens in a step",
            "×",
            [
                Series("upper bound of the speed-up", batches, [row[3] for row in by_batch]),
                Series("bytes read", batches, [row[2] for row in by_batch]),
                Series("FLOPs", batches, [compute_ratio] * len(batches)),
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
