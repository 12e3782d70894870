"""Compute-optimal training (Chinchilla): how many parameters and tokens a budget of FLOPs is best spent on."""

from dataclasses import dataclass

TOKENS_PER_PARAM = 20  # Approach 1: table 3 of arXiv 2203.15556 has 20.0 at 0.4B to 21.6 at 10T parameters


@dataclass(frozen=True)
class Fit:
    """L(N, D) = E + A/N^α + B/D^β, the loss in nats a token (arXiv 2203.15556, equation 2)."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, n_params: float, tokens: float) -> float:
        """The loss that the fit expects."""
        return float(self.E + self.A / n_params**self.alpha + self.B / tokens**self.beta)

    @property
    def exponent(self) -> float:
        """The exponent a of N_opt ∝ C^a: β/(α + β)."""
        return self.beta / (self.alpha + self.beta)

    @property
    def _g(self) -> float:
        """G of equation 4: (αA/βB)^(1/(α + β))."""
        return float((self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta)))

    def optimum(self, flops: float) -> tuple[float, float]:
        """Parameters and tokens of least loss for C = 6·N·D FLOPs: N = G·(C/6)^a, D = (C/6)^(1 − a)/G (equation 4)."""
        n = self._g * (flops / 6) ** self.exponent
        return n, flops / 6 / n

    def tokens_for(self, n_params: float) -> float:
        """The tokens that make `n_params` the optimum of their budget."""
        return float((n_params / self._g) ** (1 / self.exponent) / n_params)


# Approach 3 as printed (arXiv 2203.15556, equation 10), and the same data fitted again (Besiroglu et al., 2404.10102,
# table 1): the first contradicts the paper's own Approaches 1 and 2, the second agrees with them.
HOFFMANN = Fit(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
BESIROGLU = Fit(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)


def tokens_by_ratio(n_params: float) -> float:
    """20 tokens a parameter: 260 billion for 13B."""
    return TOKENS_PER_PARAM * n_params


def optimum_by_ratio(flops: float) -> tuple[float, float]:
    """Parameters and tokens of a budget: C = 6·N·20N, so N = √(C/120)."""
    n = (flops / (6 * TOKENS_PER_PARAM)) ** 0.5
    return n, TOKENS_PER_PARAM * n
