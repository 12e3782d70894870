"""What does it take to serve a large model: how many cards, how fast, at what price per million tokens?

First the weights must fit, then the KV cache of the batch. A decoding step reads all weights once and the cache of
every request, so alone on the machine a request pays for reading the weights by itself; in a batch they share the
bill, until the caches weigh as much as the weights or the arithmetic takes longer than the reading.

Assumptions, all of them parameters: a share of the peak bandwidth and of the peak FLOP/s is reached, a share of the
memory can be used, and a card costs so much an hour. Weights in the given bits, cache and arithmetic in 16 bits;
prompts are computed before decoding starts; traffic between the cards and idle hours are left out (both cost more).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from llmprep import content
from llmprep.calc import families, kv, params
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


@dataclass(frozen=True)
class Machine:
    """Cards that hold the weights together, with what they reach of their data sheets."""

    cards: int
    memory: float  # B, usable
    bandwidth: float  # B/s
    flops: float  # 1/s
    price: float  # of all cards, per second


@dataclass(frozen=True)
class Model:
    """What a step must read and compute."""

    n_params: int
    weight_bytes: float
    kv_bytes: int  # per token


def step_sides(model: Model, machine: Machine, batch: int, tokens_each: int, cached: float) -> tuple[float, float]:
    """Seconds that one pass reads and seconds that it computes, `tokens_each` new tokens for each request.

    Reading: weights once (the input embedding too), caches of all. Arithmetic: 2 FLOPs per parameter and token,
    attention itself left out.
    """
    reading = (model.weight_bytes + batch * cached * model.kv_bytes) / machine.bandwidth
    return reading, 2 * model.n_params * batch * tokens_each / machine.flops


def decode(model: Model, machine: Machine, batch: int, prompt: int, new: int) -> Iterator[float]:
    """Seconds of each decoding step, one after the other, while the caches grow."""
    for t in range(new):
        yield max(step_sides(model, machine, batch, 1, prompt + t))


def formula_step_seconds(model: Model, machine: Machine, batch: int, prompt: int, new: int) -> float | None:
    """The mean step at the whiteboard: one at the average context. None if the slower side changes on the way."""
    first, last = (step_sides(model, machine, batch, 1, prompt + t) for t in (0, new - 1))
    if (first[0] > first[1]) != (last[0] > last[1]):
        return None
    return max(step_sides(model, machine, batch, 1, prompt + (new - 1) / 2))


def cards_needed(needed_bytes: float, memory_per_card: float) -> int:
    """The smallest power of two of cards, as tensor parallelism wants it."""
    cards = 1
    while cards * memory_per_card < needed_bytes:
        cards *= 2
    return cards


@dataclass(frozen=True)
class Params:
    model: str = "llama-3-70b"  # a name in data/models.json
    hardware: str = "h100-sxm"  # a name in data/hardware.yaml
    weight_bits: int = 16
    batch_size: int = 64  # requests decoded together
    prompt_tokens: int = 1024  # of each request
    new_tokens: int = 512  # of each request
    price_per_card_hour: float = 2.5  # in any currency: an assumption, not a quotation
    bandwidth_share: float = 0.7  # of the peak, reached
    flops_share: float = 0.5  # of the peak, reached in prefill
    memory_share: float = 0.9  # of the card, usable for weights and cache

    def __post_init__(self) -> None:
        if self.weight_bits not in (4, 8, 16):
            raise ValueError("weight_bits must be 4, 8 or 16")
        if min(self.batch_size, self.prompt_tokens, self.new_tokens) < 1 or self.new_tokens > 100_000:
            raise ValueError("batch_size, prompt_tokens and new_tokens must be at least 1, new_tokens at most 100,000")
        if not all(0 < share <= 1 for share in (self.bandwidth_share, self.flops_share, self.memory_share)):
            raise ValueError("bandwidth_share, flops_share and memory_share must be above 0 and at most 1")
        if self.price_per_card_hour <= 0:
            raise ValueError("price_per_card_hour must be above 0")
        kv = content.model(self.model)["kv_bf16"]
        if not kv.get("full_layers") or kv["full_layers"] != kv["layers_with_kv"]:
            raise ValueError("model must keep every token in the cache of every layer")
        if params.active(families.of(self.model)).with_embeddings != params.total(families.of(self.model)):
            raise ValueError("model must be dense: a mixture of experts reads and computes less than all of itself")
        content.hardware(self.hardware)


def run(p: Params) -> Result:
    entry, card, shape = content.model(p.model), content.hardware(p.hardware), families.of(p.model)
    n_params = entry["params_total"]
    model = Model(n_params, n_params * p.weight_bits / 8, kv.bytes_per_token(shape))
    usable = card["memory"] * p.memory_share
    cache_bytes = p.batch_size * (p.prompt_tokens + p.new_tokens) * model.kv_bytes
    cards = cards_needed(model.weight_bytes + cache_bytes, usable)
    machine = Machine(
        cards,
        cards * usable,
        cards * card["bandwidth"] * p.bandwidth_share,
        cards * (card["flops"].get("bf16") or card["flops"]["fp16"]) * p.flops_share,
        cards * p.price_per_card_hour / 3600,
    )

    def serve(batch: int) -> tuple[float, float, float]:
        """(seconds to the first token of one prompt, mean step, price of a million answer tokens)."""
        first = max(step_sides(model, machine, 1, p.prompt_tokens, 0))
        prefill = max(step_sides(model, machine, batch, p.prompt_tokens, 0))
        decoding = sum(decode(model, machine, batch, p.prompt_tokens, p.new_tokens))
        return first, decoding / p.new_tokens, (prefill + decoding) * machine.price / (batch * p.new_tokens) * 1e6

    first, step, price = serve(p.batch_size)
    alone = serve(1)[2]
    whiteboard = formula_step_seconds(model, machine, p.batch_size, p.prompt_tokens, p.new_tokens)
    room = (machine.memory - model.weight_bytes) / model.kv_bytes
    batches = sorted({2**i for i in range(10)} | {p.batch_size})
    fitting = [b for b in batches if b * (p.prompt_tokens + p.new_tokens) <= room]
    rows = [(b, 1e3 * serve(b)[1], b / serve(b)[1], serve(b)[2]) for b in fitting]
    return Result(
        takeaway=Text(
            en=f"{p.model} in {p.weight_bits} bits weighs {model.weight_bytes / 1e9:.1f} GB; {p.batch_size} requests "
            f"take {cards} × {p.hardware}, and a million tokens cost {price:.2f}, one by one {alone:.2f}.",
            zh=f"{p.model} 的 {p.weight_bits} bit 权重占 {model.weight_bytes / 1e9:.1f} GB；同时服务 {p.batch_size} 个"
            f"请求要 {cards} 张 {p.hardware}，每百万 token 成本 {price:.2f}，逐个服务则是 {alone:.2f}。",
        ),
        facts=[
            Fact(
                "weights_gb", "GB", model.weight_bytes / 1e9, params.total(shape) * p.weight_bits / 8 / 1e9, rtol=1e-9
            ),
            Fact("cards_for_weights", "cards", cards_needed(model.weight_bytes, usable)),
            Fact("cache_gb", "GB", cache_bytes / 1e9),
            Fact("cards", "cards", cards),
            Fact("first_token_ms", "ms", 1e3 * first),
            Fact("step_ms", "ms", 1e3 * step, whiteboard and 1e3 * whiteboard, rtol=1e-9),
            Fact("tokens_per_second", "tokens/s", p.batch_size / step),
            Fact("price_per_million", "currency", price),
            Fact("price_alone", "currency", alone),
            Fact("batching_saving", "×", alone / price),
        ],
        table=Table(("requests", "time per token (ms)", "tokens/s in all", "price per million tokens"), rows),
        plot=Plot(
            f"A million tokens on {cards} × {p.hardware}",
            "requests decoded together",
            "price",
            [Series(p.model, [row[0] for row in rows], [row[3] for row in rows])],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
