"""Why do activations resist INT8 when weights do not, and what does SmoothQuant move where?

A few input channels of a large model carry values about a hundred times larger than the rest, in every token. One step
for the whole tensor must reach that far, so an ordinary channel is left with a handful of the 255 levels. A step per
channel would help, but an INT8 GEMM sums over channels in integers: only scales of whole tokens and of whole output
channels can be taken out of the sum. SmoothQuant divides channel j of x by s_j and multiplies the weights by it: exact
before rounding, and both then fit INT8. LLM.int8() computes the few outlier channels in 16 bits instead.

Legend: x (n, d_in) activations of n tokens, w (d_out, d_in), y = x·wᵀ (n, d_out), s (d_in,).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def to_int8(x: Tensor, *, per_row: bool = False) -> tuple[Tensor, Tensor]:
    """Symmetric codes int8 in ±127 and the step, one for the tensor or one for each row: a token of x, a row of w."""
    step = x.abs().amax(dim=1 if per_row else (0, 1), keepdim=True) / 127  # (rows, 1) or (1, 1)
    return (x / step).round().to(torch.int8), step


def w8a8(x: Tensor, w: Tensor, *, per_row: bool = False) -> Tensor:
    """The layer as an integer GEMM: both steps are constant along the sum over d_in, so they come after it."""
    (x_codes, x_step), (w_codes, w_step) = to_int8(x, per_row=per_row), to_int8(w, per_row=per_row)
    return (x_codes.int() @ w_codes.int().T) * x_step * w_step.T  # int32 sums, (n, d_out)


def w8a16(x: Tensor, w: Tensor) -> Tensor:
    """Weight-only: codes are turned back into floats before an ordinary GEMM."""
    w_codes, w_step = to_int8(w)
    return x @ (w_codes * w_step).T


def smoothing_factors(x: Tensor, w: Tensor, alpha: float) -> Tensor:
    """s_j = max|x_j|^α / max|w_j|^(1−α), from calibration tokens: SmoothQuant, arXiv 2211.10438, equation 4."""
    return x.abs().amax(dim=0) ** alpha / w.abs().amax(dim=0) ** (1 - alpha)


def llm_int8(x: Tensor, w: Tensor, threshold: float = 6.0) -> tuple[Tensor, float]:
    """Channels that reach the threshold in floats, the others vector-wise in INT8, and the share of the former.

    LLM.int8(), arXiv 2208.07339, section 3.2, equation 8.
    """
    outlier = x.abs().amax(dim=0) >= threshold  # (d_in,)
    y = x[:, outlier] @ w[:, outlier].T
    return y + w8a8(x[:, ~outlier], w[:, ~outlier], per_row=True), outlier.float().mean().item()


def levels_used(codes: Tensor) -> float:
    """Median over channels of the number of int8 levels that their values span; codes (n, d_in)."""
    low, high = (bound.double() for bound in torch.aminmax(codes, dim=0))
    return (high - low + 1).quantile(0.5).item()


def sample_activations(n: int, d_in: int, n_outliers: int, gain: float, rng: torch.Generator) -> Tensor:
    """(n, d_in) standard normal, but the first channels sit near `gain` in every token, as in OPT (section 3)."""
    x = torch.randn(n, d_in, generator=rng)
    x[:, :n_outliers] = gain * (1 + 0.1 * x[:, :n_outliers])
    return x


@dataclass(frozen=True)
class Params:
    outlier_gain: float = 100.0  # size of the outlier channels; the others have standard deviation 1
    n_outliers: int = 2  # channels, of d_in
    alpha: float = 0.5  # migration strength: 0 leaves the difficulty to activations, 1 moves it all to the weights
    n_tokens: int = 256
    d_in: int = 256
    d_out: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.outlier_gain <= 1000:
            raise ValueError("outlier_gain must be between 1 and 1000")
        if not 0 <= self.alpha <= 1:
            raise ValueError("alpha must be between 0 and 1")
        if not 16 <= self.n_tokens <= 512 or not 16 <= self.d_in <= 512 or not 16 <= self.d_out <= 512:
            raise ValueError("n_tokens, d_in and d_out must be between 16 and 512")
        if not 0 <= self.n_outliers <= self.d_in // 8:
            raise ValueError("n_outliers must be at most an eighth of d_in")


def run(p: Params) -> Result:
    rng = torch.Generator().manual_seed(p.seed)
    calib, x = (sample_activations(p.n_tokens, p.d_in, p.n_outliers, p.outlier_gain, rng) for _ in range(2))
    w = torch.randn(p.d_out, p.d_in, generator=rng)
    y = x @ w.T
    signal = (y - y.mean(dim=0)).norm()  # what differs between tokens: outliers add the same to each

    def error(y_hat: Tensor) -> float:
        return ((y_hat - y).norm() / signal).item()

    s = smoothing_factors(calib, w, p.alpha)
    drift = ((x.double() / s) @ (w.double() * s).T - x.double() @ w.double().T).norm() / signal
    y_llm_int8, share = llm_int8(x, w)
    plain, smooth, per_token = error(w8a8(x, w)), error(w8a8(x / s, w * s)), error(w8a8(x, w, per_row=True))
    ordinary = x[:, p.n_outliers :]
    span = (ordinary.amax(dim=0) - ordinary.amin(dim=0)).double().quantile(0.5).item()
    levels, levels_after = (levels_used(to_int8(t)[0][:, p.n_outliers :]) for t in (x, x / s))
    facts = [
        Fact("mismatches", "layers", int(drift.item() > 1e-6), predicted=0),
        Fact("levels", "of 255", levels, predicted=1 + 127 * span / x.abs().amax().item(), atol=1),
        Fact("levels_after", "of 255", levels_after),
        Fact("w8a8_error", "", plain),
        Fact("smooth_error", "", smooth),
        Fact("per_token_error", "", per_token),
        Fact("w8a16_error", "", error(w8a16(x, w))),
        Fact("llm_int8_error", "", error(y_llm_int8)),
        Fact("fp16_share", "of channels", share),
    ]
    rows = [
        ("W8A8", "one step per tensor", round(plain, 4)),
        ("W8A8", "one step per token and output channel", round(per_token, 4)),
        ("W8A8", f"per tensor, smoothed with α = {p.alpha:g}", round(smooth, 4)),
        ("W8A16", "weights alone, one step per tensor", round(error(w8a16(x, w)), 4)),
        ("LLM.int8()", f"{share:.2%} of the channels in 16 bits", round(error(y_llm_int8), 4)),
    ]
    alphas = [i / 10 for i in range(11)]
    factors = [smoothing_factors(calib, w, alpha) for alpha in alphas]
    return Result(
        takeaway=Text(
            en=f"With outliers of {p.outlier_gain:g}, an ordinary channel has {levels:.0f} of 255 levels and W8A8 "
            f"loses {plain:.1%} of the signal; a step per token still loses {per_token:.1%}, smoothing {smooth:.1%}.",
            zh=f"离群通道幅度为 {p.outlier_gain:g} 时，普通通道在 255 个量化等级里只用到 {levels:.0f} 个，W8A8 的误差为"
            f"信号的 {plain:.1%}；改成逐 token 缩放仍有 {per_token:.1%}，平滑之后为 {smooth:.1%}。",
        ),
        facts=facts,
        table=Table(("scheme", "scales", "error / signal"), rows),
        plot=Plot(
            "W8A8 after smoothing",
            "α",
            "error / signal",
            [Series("per tensor", alphas, [error(w8a8(x / f, w * f)) for f in factors])],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
