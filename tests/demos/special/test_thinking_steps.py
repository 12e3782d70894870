# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.special import group_advantage as by_hand
from llmprep.demos.special.thinking_steps import G, M, N, Params, Writer, group_advantage, run, write_and_answer


class Scripted(torch.nn.Module):
    """Writes the true running sums for `steps` steps, then says what it wrote last."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def forward(self, digits, last, written):
        turn = digits.gather(1, written.clamp(max=N - 1)[:, None])[:, 0]
        token = torch.where(written < self.steps, (last + turn) % M, M + last)
        return torch.nn.functional.one_hot(token, 2 * M).double().log()


def test_running_sums_to_the_end_are_always_right_and_one_less_is_not():
    torch.manual_seed(0)
    digits = torch.randint(M, (300, N))
    full, short = (write_and_answer(Scripted(k), digits) for k in (N, N - 1))
    assert full.right.all()
    assert (full.written == N).all()
    assert (short.written == N - 1).all()
    assert short.right.float().mean() == (digits[:, -1] == 0).float().mean()


def test_log_probability_counts_every_token_up_to_the_answer_and_none_after():
    class Even(torch.nn.Module):
        def forward(self, digits, last, written):
            logits = torch.zeros(len(digits), 2 * M)
            return logits.masked_fill((written == N)[:, None] & (torch.arange(2 * M) < M), -torch.inf).log_softmax(-1)

    torch.manual_seed(0)
    rollout = write_and_answer(Even(), torch.randint(M, (500, N)))
    tokens = torch.tensor(2.0 * M).log() * rollout.written.clamp(max=N)
    last = torch.where(rollout.written == N, torch.tensor(float(M)).log(), torch.tensor(2.0 * M).log())
    torch.testing.assert_close(rollout.log_prob, -(tokens + last))


def test_no_step_is_written_after_the_last_digit():
    logs = Writer()(torch.zeros(1, N, dtype=torch.long), torch.tensor([0]), torch.tensor([N]))
    assert (logs[0, :M] == -torch.inf).all()
    assert logs[0, M:].exp().sum().item() == pytest.approx(1)


def test_advantage_is_the_one_by_hand():
    torch.manual_seed(0)
    rewards = torch.randint(2, (50, G)).double()
    for row, expected in zip(group_advantage(rewards).tolist(), rewards.tolist(), strict=True):
        assert row == pytest.approx(by_hand.advantages(expected), abs=1e-4)


def test_reward_for_the_answer_makes_answers_right_and_long():
    result = run(Params(rl_steps=60))
    assert result.fact("success").measured > 0.8 > 0.5 > result.fact("success_base").measured
    assert result.fact("steps_written").measured > 2 * result.fact("steps_base").measured
    assert run(Params(rl_steps=60, reward="random")).fact("success").measured < 0.5
    assert run(Params(rl_steps=0)).fact("success").measured < 0.5


@pytest.mark.parametrize("wrong", [{"forced_steps": 6}, {"rl_steps": -1}, {"base_steps": 10}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
