"""Why does a reasoning model get better by writing more, and how does reinforcement learning find that out?

One forward pass is a fixed amount of serial work. A token that is written and read again carries an intermediate result
into the next pass: k written steps make k + 1 passes in a row. Here a small network sees digits and may write running
sums before it answers with their sum. Its base training shows mostly short answers; made to write more, the same
weights get more right. Then only the final answer is rewarded, compared with the group of answers to the same problem
(GRPO, arXiv 2402.03300). Nobody rewards length, and yet the answers grow longer.

Legend: B problems, G answers to each (the group), N digits in a problem, M modulus.
"""

import functools
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep.demos.architecture.one_head_limit import one_thread
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

N, M, WIDTH = 5, 5, 96
PROBLEMS, G, N_TEST = 32, 8, 2000  # a step of GRPO: 32 groups of 8 answers
HABIT = torch.tensor([0.45, 0.20, 0.12, 0.10, 0.08, 0.05])  # of the base texts write 0 … N steps before the answer


class Writer(nn.Module):
    """One pass, one token: a digit either written down (0 … M − 1) or given as the answer (M … 2M − 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(N * M + 2 * M + N + 1, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, 2 * M),
        )

    def forward(self, digits: Tensor, last: Tensor, written: Tensor) -> Tensor:
        """(B, N) digits, (B,) last digit written (0 at first), (B,) steps written → log-probabilities (B, 2M)."""
        turn = digits.gather(1, written.clamp(max=N - 1)[:, None])[:, 0]  # the digit whose turn it is: a pointer
        seen = [F.one_hot(digits, M).flatten(1), F.one_hot(turn, M), F.one_hot(last, M), F.one_hot(written, N + 1)]
        logits = self.net(torch.cat(seen, dim=1).float())
        full = (written == N)[:, None] & (torch.arange(2 * M) < M)  # no room for more than N steps
        return logits.masked_fill(full, -torch.inf).log_softmax(dim=-1)


@functools.cache
def base_model(steps: int, seed: int) -> Writer:
    """Next-token prediction on correct texts of any length, most of them short."""
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        model = Writer()
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            digits = torch.randint(M, (256, N))
            sums = F.pad(digits.cumsum(dim=1), (1, 0)) % M  # (B, N + 1), running sums; the last one is the answer
            length = torch.multinomial(HABIT, len(digits), replacement=True)
            i, j = (torch.arange(N + 1) <= length[:, None]).nonzero(as_tuple=True)  # text i, after j written steps
            token = torch.where(j == length[i], M + sums[i, -1], sums[i, (j + 1).clamp(max=N)])
            loss = F.nll_loss(model(digits[i], sums[i, j], j), token)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model


class Rollout(NamedTuple):
    """Answers sampled from a policy: log-probability of all tokens (B,), steps written (B,), right or not (B,)."""

    log_prob: Tensor
    written: Tensor
    right: Tensor


def write_and_answer(model: Writer, digits: Tensor) -> Rollout:
    """Sample tokens until each problem in (B, N) has an answer. Every token is one more pass of the same network."""
    B = len(digits)
    last, written, log_prob = torch.zeros(B, dtype=torch.long), torch.zeros(B, dtype=torch.long), torch.zeros(B)
    answer = torch.full((B,), -1)
    for _ in range(N + 1):
        logs = model(digits, last, written)
        token = torch.multinomial(logs.detach().exp(), 1)[:, 0]
        thinking = answer < 0
        log_prob = log_prob + torch.where(thinking, logs.gather(1, token[:, None])[:, 0], 0.0)
        answer = torch.where(thinking & (token >= M), token - M, answer)
        still = thinking & (token < M)
        last, written = torch.where(still, token, last), written + still
    return Rollout(log_prob, written, answer == digits.sum(dim=1) % M)


def accuracy_after(model: Writer, digits: Tensor, steps: int) -> float:
    """Make the model write so many steps, its likeliest ones, then take its likeliest answer."""
    last = torch.zeros(len(digits), dtype=torch.long)
    for k in range(steps):
        last = model(digits, last, torch.full_like(last, k))[:, :M].argmax(dim=1)
    answer = model(digits, last, torch.full_like(last, steps))[:, M:].argmax(dim=1)
    return (answer == digits.sum(dim=1) % M).float().mean().item()


def group_advantage(rewards: Tensor) -> Tensor:
    """(r − mean)/std within each group, (B, G) → the same; 0 where all agree: DeepSeekMath, section 4.1.2."""
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return centred / (rewards.std(dim=1, keepdim=True, correction=0) + 1e-6)


def reinforce(
    base: Writer, steps: int, reward: Literal["answer", "random"]
) -> tuple[Writer, list[tuple[float, float]]]:
    """GRPO with one update per batch, so the ratio is 1 and nothing is clipped; no KL term. (model, history)."""
    model = Writer()
    model.load_state_dict(base.state_dict())
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    history = []
    for _ in range(steps):
        digits = torch.randint(M, (PROBLEMS, N)).repeat_interleave(G, dim=0)  # (B·G, N)
        rollout = write_and_answer(model, digits)
        rewards = rollout.right.float() if reward == "answer" else torch.randint(2, (PROBLEMS * G,)).float()
        advantage = group_advantage(rewards.view(PROBLEMS, G)).flatten()
        optimiser.zero_grad()
        (-(advantage * rollout.log_prob).mean()).backward()
        optimiser.step()
        history.append((rollout.right.float().mean().item(), rollout.written.float().mean().item()))
    return model, history


@dataclass(frozen=True)
class Params:
    reward: Literal["answer", "random"] = "answer"  # 1 for a right answer, or a coin
    forced_steps: int = 4  # the base model is made to write before it answers, at most N
    rl_steps: int = 80
    base_steps: int = 600
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.forced_steps <= N:
            raise ValueError("forced_steps must be between 0 and 5, the digits of a problem")
        if not 0 <= self.rl_steps <= 200 or not 400 <= self.base_steps <= 800:
            raise ValueError("rl_steps must be between 0 and 200, base_steps between 400 and 800")


def run(p: Params) -> Result:
    base = base_model(p.base_steps, p.seed)
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(p.seed)
        model, history = reinforce(base, p.rl_steps, p.reward)
        test = torch.randint(M, (N_TEST, N))
        with torch.no_grad():
            before, after = write_and_answer(base, test), write_and_answer(model, test)
            forced = [accuracy_after(base, test, k) for k in range(N + 1)]
    success = [r.right.float().mean().item() for r in (before, after)]
    written = [r.written.float().mean().item() for r in (before, after)]
    return Result(
        takeaway=Text(
            en=f"Made to write 0 or {p.forced_steps} steps, the same base model is right in {forced[0]:.0%} or "
            f"{forced[p.forced_steps]:.0%}. {p.rl_steps} steps of RL on reward '{p.reward}' take its success from "
            f"{success[0]:.0%} to {success[1]:.0%} and its length from {written[0]:.1f} to {written[1]:.1f} steps.",
            zh=f"强制写 0 步或 {p.forced_steps} 步，同一个基座的正确率是 {forced[0]:.0%} "
            f"或 {forced[p.forced_steps]:.0%}。以 {p.reward} 为奖励做 {p.rl_steps} 步 RL，"
            f"正确率从 {success[0]:.0%} 到 {success[1]:.0%}，平均步数从 {written[0]:.1f} 到 {written[1]:.1f}。",
        ),
        facts=[
            Fact("success_base", "", success[0]),
            Fact("success", "", success[1]),
            Fact("steps_base", "steps", written[0]),
            Fact("steps_written", "steps", written[1]),
            Fact("accuracy_at_once", "", forced[0], predicted=1 / M, atol=0.08),  # a guess
            Fact("accuracy_forced", "", forced[p.forced_steps]),
            Fact("digits", "digits", N),
            Fact("modulus", "", M),
        ],
        table=Table(
            ("steps written by force", "passes in a row", "accuracy of the base model"),
            [(k, k + 1, accuracy) for k, accuracy in enumerate(forced)],
        ),
        plot=Plot(
            f"GRPO, reward: {p.reward}",
            "RL step",
            "",
            [
                Series("share of right answers", list(range(len(history))), [h[0] for h in history]),
                Series(f"steps written, of {N}", list(range(len(history))), [h[1] / N for h in history]),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
