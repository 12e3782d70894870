"""A planned training run and what follows from it: time, GPU-hours, cost, and what other stages would hold."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

from llmprep.calc.job import Job
from llmprep.calc.memory import Recompute
from llmprep.calc.parallel import Held, Layout, hold
from llmprep.calc.traffic import Sent, sent
from llmprep.calc.training import Plan, Planner

Range = tuple[float, float]  # the smaller number first


@dataclass(frozen=True)
class Run:
    """A plan with a budget of tokens, an assumed utilisation, and a price in USD for a GPU and hour."""

    subject: str
    planner: Planner
    plan: Plan
    fewest: int | None  # GPUs on which any layout fits
    tokens: float
    assumed: Range  # MFU without full recomputation
    prices: Range | None
    given_mfu: bool = False

    @property
    def job(self) -> Job:
        """What is trained."""
        return self.planner.job

    @property
    def layout(self) -> Layout:
        """How it is spread."""
        return self.plan.layout

    @cached_property
    def mfu(self) -> Range:
        """Model FLOPs over peak. Full recomputation leaves fewer of the executed ones; a given MFU stands as it is."""
        lost = 1.0
        if self.layout.recompute == "full" and not self.given_mfu:
            lost = self.job.hardware_flops("selective") / self.job.hardware_flops("full")
        return self.assumed[0] * lost, self.assumed[1] * lost

    @cached_property
    def hfu(self) -> Range:
        """Executed FLOPs over peak."""
        ratio = self.job.hardware_flops(self.layout.recompute) / self.job.flops
        return self.mfu[0] * ratio, self.mfu[1] * ratio

    @cached_property
    def peak(self) -> float:
        """Dense FLOP/s of a GPU in 16 bits."""
        return self.planner.gpu.peak(("bf16",))[1]

    def seconds(self, flops_per_token: float) -> Range:
        """For all tokens, the best case first."""
        ideal = flops_per_token * self.tokens / (self.layout.gpus * self.peak)
        return ideal / self.mfu[1], ideal / self.mfu[0]

    def gpu_hours(self, flops_per_token: float) -> Range:
        """For all tokens, the best case first."""
        best, worst = self.seconds(flops_per_token)
        return best * self.layout.gpus / 3600, worst * self.layout.gpus / 3600

    @cached_property
    def tokens_per_second(self) -> Range:
        """Of all GPUs."""
        best, worst = self.seconds(self.job.flops)
        return self.tokens / worst, self.tokens / best

    @cached_property
    def cost(self) -> Range | None:
        """USD, by the fuller count of FLOPs."""
        if self.prices is None:
            return None
        best, worst = self.gpu_hours(self.job.flops)
        return best * self.prices[0], worst * self.prices[1]

    @property
    def batch_tokens(self) -> int:
        """Tokens in a step, as the layout has it."""
        return self.layout.data * self.layout.micro_batch * self.layout.accumulation * self.job.seq_len

    @cached_property
    def sent(self) -> Sent:
        """What a GPU sends."""
        return sent(self.job, self.layout)

    @cached_property
    def stages(self) -> tuple[Held, ...]:
        """What a GPU holds at each ZeRO stage, with the smallest micro-batch."""
        return tuple(hold(self.job, self._smallest._replace(zero=stage)) for stage in range(4))

    @cached_property
    def policies(self) -> dict[Recompute, Held]:
        """What a GPU holds with each way of recomputing, with the smallest micro-batch."""
        every: tuple[Recompute, ...] = ("none", "selective", "full")
        return {policy: hold(self.job, self._smallest._replace(recompute=policy)) for policy in every}

    @cached_property
    def whole(self) -> dict[Recompute, Held]:
        """The same for one sequence on one GPU that holds the whole model."""
        every: tuple[Recompute, ...] = ("none", "selective", "full")
        return {policy: hold(self.job, Layout(recompute=policy)) for policy in every}

    @property
    def _smallest(self) -> Layout:
        return self.layout._replace(micro_batch=self.planner.wish.micro_batch or 1)

    @property
    def fewest_for_states(self) -> int:
        """GPUs whose memory, filled to the brim, holds the states alone."""
        return ceil(self.job.states / self.planner.gpu.memory)
