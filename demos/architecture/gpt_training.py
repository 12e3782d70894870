"""How does one see that a small GPT really learns a text?

By what it beats. A GPT of a few ten thousand parameters, trained on the characters of one chapter for some seconds on
one core, starts at ln V, as if guessing among V characters. Soon it knows how often each character stands in the text;
to fall below a table of all pairs it has to use context further back. On text that it has not seen it stays above its
loss in training. And a loss far below both is no triumph but a leak: without the mask the answer is in the input.

Legend: B batch, T tokens (here characters), V vocabulary.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep import content
from llmprep.demos.architecture.mini_gpt import GPT, next_token_loss
from llmprep.demos.architecture.one_head_limit import one_thread
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def read_corpus() -> tuple[Tensor, str]:
    """A chapter as ids of characters, (N,), and the characters in order of their ids."""
    text = (content.data_dir() / "corpus" / "alice.txt").read_text(encoding="utf-8")
    characters = "".join(sorted(set(text)))
    return torch.tensor([characters.index(c) for c in text]), characters


def train(model: GPT, text: Tensor, steps: int, *, causal: bool = True, batch: int = 32) -> list[float]:
    """AdamW on random windows of the text, the learning rate falling to a tenth; the loss of each step."""
    windows = text.unfold(0, model.wpe.num_embeddings + 1, 1)  # (N − T, T + 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, total_iters=steps)
    losses = []
    for _ in range(steps):
        loss = next_token_loss(model, windows[torch.randint(len(windows), (batch,))], causal=causal)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def count_losses(text: Tensor, unseen: Tensor, V: int) -> tuple[float, float]:
    """Nats per character of unseen text for tables of single characters and of pairs, counted with 0.1 added."""
    pairs = torch.full((V, V), 0.1).index_put((text[:-1], text[1:]), torch.tensor(1.0), accumulate=True)
    single = pairs.sum(0) / pairs.sum()
    after = pairs / pairs.sum(1, keepdim=True)  # (V, V), a row for each previous character
    return -single[unseen[1:]].log().mean().item(), -after[unseen[:-1], unseen[1:]].log().mean().item()


@dataclass(frozen=True)
class Params:
    n_layers: int = 2
    causal: bool = True  # false: someone forgot the mask
    steps: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_layers <= 3 or not 100 <= self.steps <= 500:
            raise ValueError("n_layers must be between 1 and 3, steps between 100 and 500: the model is really trained")


def run(p: Params) -> Result:
    context, d, n_heads = 16, 48, 4
    ids, characters = read_corpus()
    V, cut = len(characters), len(ids) * 9 // 10
    text, unseen = ids[:cut], ids[cut:]
    test = unseen.unfold(0, context + 1, context)  # every character is asked for once
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(p.seed)
        model = GPT(V, context, d, n_heads, p.n_layers)
        with torch.no_grad():
            start = next_token_loss(model, test, causal=p.causal).item()
        losses = train(model, text, p.steps, causal=p.causal)
        with torch.no_grad():
            end = next_token_loss(model, test, causal=p.causal).item()
        sample = model.generate(text[None, :context], 60, causal=p.causal)[0]
    written = "".join(characters[i] for i in sample).replace("\n", " ")

    parameters = sum(w.numel() for w in model.parameters())
    end_training = sum(losses[-20:]) / 20
    single, pairs = count_losses(text, unseen, V)
    steps = range(0, p.steps, 5)
    smooth = [sum(losses[i : i + 5]) / 5 for i in steps]
    return Result(
        takeaway=Text(
            en=f"A GPT of {parameters:,} parameters starts at {start:.2f} nats (ln V = {math.log(V):.2f}); after "
            f"{p.steps} steps it is at {end:.2f} on unseen text, a table of pairs at {pairs:.2f} (seed {p.seed}). "
            f"It writes: “{written}”",
            zh=f"{parameters:,} 个参数的 GPT，起始损失 {start:.2f} nats（ln V = {math.log(V):.2f}）；"
            f"训练 {p.steps} 步后，在没见过的文本上是 {end:.2f}，字符对计数表是 {pairs:.2f}（seed = {p.seed}）。"
            f"它写出：“{written}”",
        ),
        facts=[
            Fact("vocab_size", "characters", V),
            Fact("parameters", "", parameters),
            Fact("guessing_loss", "nats", math.log(V)),
            Fact("start_loss", "nats", start, predicted=math.log(V), atol=0.15),
            Fact("single_loss", "nats", single),
            Fact("pairs_loss", "nats", pairs),
            Fact("end_loss_training", "nats", end_training),
            Fact("end_loss_unseen", "nats", end),
        ],
        table=Table(
            ("what predicts the next character", "loss on unseen text (nats)"),
            [
                ("guessing among V characters", math.log(V)),
                ("how often each character stands in the text", single),
                ("how often each pair stands in the text", pairs),
                ("the GPT before training", start),
                ("the GPT after training", end),
            ],
        ),
        plot=Plot(
            f"Training a GPT of {parameters:,} parameters on one chapter",
            "step",
            "loss (nats)",
            [
                Series("training, mean of 5 steps", list(steps), smooth),
                Series("table of pairs, unseen text", [0, p.steps], [pairs, pairs]),
                Series("guessing, ln V", [0, p.steps], [math.log(V), math.log(V)]),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
