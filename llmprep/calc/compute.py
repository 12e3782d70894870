"""FLOPs and time: what a training run costs, and whether a kernel waits for memory."""

from llmprep.calc import params
from llmprep.calc.shapes import Shape

SECONDS_PER_DAY = 86_400


def training_flops(n_params: float, tokens: float) -> float:
    """C = 6·N·D: 2 a parameter and token forward, 4 backward (Kaplan et al., arXiv 2001.08361, section 2.1)."""
    return 6 * n_params * tokens


def training_flops_per_token(shape: Shape, seq_len: int) -> int:
    """6N + 12·L·H·D·T with N the parameters in matmuls (PaLM, arXiv 2204.02311, appendix B).

    The second term is attention over the full square; a causal kernel that skips the upper half does less.
    """
    attention = 12 * shape.n_layers * shape.n_heads * shape.head_dim * seq_len
    return 6 * params.in_matmuls(shape) + attention


def training_days(flops: float, n_devices: int, peak_flops: float, mfu: float) -> float:
    """Days on `n_devices` of `peak_flops` each, of which the run turns the share `mfu` into model FLOPs."""
    return flops / (n_devices * peak_flops * mfu) / SECONDS_PER_DAY


def model_flops_utilization(flops_per_token: float, tokens_per_second: float, peak_flops: float) -> float:
    """MFU: the FLOPs that the model needs, over those the device could do (PaLM, appendix B)."""
    return flops_per_token * tokens_per_second / peak_flops


def ridge(peak_flops: float, bandwidth: float) -> float:
    """FLOPs per byte above which a kernel is compute-bound (roofline model): 153 for an A100 80GB in BF16."""
    return peak_flops / bandwidth
