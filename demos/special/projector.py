"""How little has to be trained so that an LLM can read the features of a frozen vision encoder?

Encoder and LLM were trained apart, so their vectors live in unrelated spaces; but if both describe the same things,
one map from the first to the second may be enough. LLaVA trains a linear one, LLaVA-1.5 two layers with a GELU between,
and leaves both big models frozen at first. Here two fixed random functions see the same hidden causes, and a projector
between them is fitted on pairs and judged on new ones: with too few pairs even a linear one only learns them by heart.

Legend: n pairs, K hidden causes, D_v channels of the encoder, D_t channels of the LLM's embeddings.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

K, D_V, D_T, N_NEW, N_MOST = 16, 64, 48, 512, 8192
Kind = Literal["untrained", "linear", "mlp"]


def projector(kind: Kind, d_vision: int, d_model: int) -> nn.Sequential:
    """(…, d_vision) → (…, d_model). Linear: arXiv 2304.08485, section 4.1; mlp: arXiv 2310.03744, section 3.2."""
    if kind == "mlp":
        return nn.Sequential(nn.Linear(d_vision, d_model), nn.GELU(), nn.Linear(d_model, d_model))
    return nn.Sequential(nn.Linear(d_vision, d_model))


def formula_parameters(kind: Kind, d_vision: int, d_model: int) -> int:
    """Weights and biases: (D_v + 1)·D_t, and for the second layer of the MLP (D_t + 1)·D_t more."""
    return (d_vision + 1) * d_model + (d_model + 1) * d_model * (kind == "mlp")


class TwoSpaces:
    """A frozen vision encoder and a frozen text space: different random functions of the same hidden causes."""

    def __init__(self) -> None:
        self.first, self.second = torch.randn(K, D_V) / K**0.5, torch.randn(D_V, D_V) / D_V**0.5
        self.words = torch.randn(K, D_T) / K**0.5

    def pairs(self, n: int) -> tuple[Tensor, Tensor]:
        """As many things as the encoder and as the LLM see them: (n, D_v), (n, D_t)."""
        causes = torch.randn(n, K)
        seen = torch.tanh(1.5 * causes @ self.first) @ self.second
        return seen + 0.05 * torch.randn(n, D_V), causes @ self.words


def fit(kind: Kind, vision: Tensor, text: Tensor) -> nn.Sequential:
    """A linear projector by least squares, an MLP by 300 steps of Adam; the two spaces are never touched."""
    mapping = projector(kind, D_V, D_T)
    if kind == "linear":
        with_bias = torch.cat([vision, torch.ones(len(vision), 1)], dim=1).double()
        solution = torch.linalg.lstsq(with_bias, text.double(), driver="gelsd").solution  # (D_v + 1, D_t), least norm
        with torch.no_grad():
            mapping[0].weight.copy_(solution[:-1].T)
            mapping[0].bias.copy_(solution[-1])
    if kind == "mlp":
        optimiser = torch.optim.Adam(mapping.parameters(), lr=0.01)
        for _ in range(300):
            loss = F.mse_loss(mapping(vision), text)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return mapping


@torch.no_grad()
def alignment(mapping: nn.Module, vision: Tensor, text: Tensor) -> tuple[float, float]:
    """Mean cosine of projected features with their partners, and how often the partner is the nearest of all."""
    cosines = F.normalize(mapping(vision), dim=-1) @ F.normalize(text, dim=-1).T  # (n, n)
    return cosines.diagonal().mean().item(), (cosines.argmax(dim=1) == torch.arange(len(text))).double().mean().item()


@dataclass(frozen=True)
class Params:
    kind: Kind = "linear"
    n_pairs: int = 2048  # to fit the projector on
    llm: str = "llama-2-7b"  # the shape of Vicuna-7B v1.5; a name in data/models.json
    vision_dim: int = 1024  # channels of the real encoder whose projector is counted: CLIP ViT-L
    seed: int = 0

    def __post_init__(self) -> None:
        if not 16 <= self.n_pairs <= N_MOST or not 64 <= self.vision_dim <= 8192:
            raise ValueError("n_pairs must be between 16 and 8,192, vision_dim between 64 and 8,192")
        if "hidden_size" not in content.model(self.llm)["config"]:
            raise ValueError(f"llm must have a hidden_size in its config, as Llama does, not {self.llm}")


def run(p: Params) -> Result:
    sizes = sorted({32, 64, 128, 512, p.n_pairs})
    measured = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        spaces = TwoSpaces()
        new = spaces.pairs(N_NEW)
        vision, text = spaces.pairs(N_MOST)
        for n in sizes:
            torch.manual_seed(p.seed + 1)
            mapping = fit(p.kind, vision[:n], text[:n])
            measured[n] = (*alignment(mapping, *new), alignment(mapping, vision[:n], text[:n])[0])
    cosine, top1, cosine_fitted = measured[p.n_pairs]

    d_model = content.model(p.llm)["config"]["hidden_size"]
    with torch.device("meta"):
        parameters = sum(w.numel() for w in projector(p.kind, p.vision_dim, d_model).parameters())
    return Result(
        takeaway=Text(
            en=f"Projector {p.kind}, {p.n_pairs:,} pairs: cosine {cosine:.2f} with the right text vector for new "
            f"things, nearest of {N_NEW} in {top1:.0%} of cases. For {p.llm} it has {parameters / 1e6:.1f}M weights.",
            zh=f"projector 为 {p.kind}，{p.n_pairs:,} 对数据：新样本与对应文本向量的余弦为 {cosine:.2f}，"
            f"在 {N_NEW} 个候选中排第一的占 {top1:.0%}。接到 {p.llm} 上，它有 {parameters / 1e6:.1f}M 参数。",
        ),
        facts=[
            Fact("cosine", "", cosine),
            Fact("cosine_fitted", "", cosine_fitted),  # on the pairs that it was fitted on
            Fact("top1", "", top1),
            Fact("candidates", "vectors", N_NEW),
            Fact("parameters", "weights", parameters, formula_parameters(p.kind, p.vision_dim, d_model)),
            Fact("share_of_llm", "", parameters / content.model(p.llm)["params_total"]),
        ],
        table=Table(
            ("pairs", "cosine, new things", f"nearest of {N_NEW}", "cosine, fitted pairs"),
            [(n, *values) for n, values in measured.items()],
        ),
        plot=Plot(
            f"A {p.kind} projector between two frozen spaces",
            "pairs",
            "mean cosine",
            [
                Series("new things", sizes, [measured[n][0] for n in sizes]),
                Series("fitted pairs", sizes, [measured[n][2] for n in sizes]),
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
