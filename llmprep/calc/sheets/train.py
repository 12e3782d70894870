"""`calc train`: what a training run holds on each GPU, how long it takes, what it costs, and how to lay it out."""

from typing import cast, get_args

from llmprep.calc import hardware, options, scaling
from llmprep.calc.adapters import TARGETS, Adapters, Targets
from llmprep.calc.job import METHODS, Job, Method
from llmprep.calc.memory import EVERY, Recompute
from llmprep.calc.run import Run
from llmprep.calc.shapes import Shape
from llmprep.calc.sheets import Sheet, train_assumptions, train_data, train_sections, train_words
from llmprep.calc.training import LARGEST, MFU, NODE, Planner, Wish, divides
from llmprep.content import Text
from llmprep.errors import UserError

SEQ_LEN = 4096  # tokens of a sequence where none are asked for, unless the model was trained on fewer
BATCH_TOKENS = 2**22  # of a step of pretraining: 4M as LLaMA (arXiv 2302.13971, table 2)
FINETUNING_SEQUENCES = 64  # of a step with adapters
FINETUNING_TOKENS = 50e6  # 50,000 examples of 1,000 tokens
PRICE = (2.0, 4.0)  # USD for a GPU and hour: an assumption, the same as in calc.serving, which is slow to import
PRICED = ("a100-80gb", "h100-sxm", "h100-pcie", "h200-sxm", "mi300x")  # the class of GPU that it is meant for
DAYS = 30  # that pretraining may take where no number of GPUs is given


def sheet(
    shape: Shape,
    subject: str,
    *,
    gpu: str = "a100-80gb",
    gpus: int | None = None,
    tokens: float | None = None,
    method: str = "full",
    rank: int = 16,
    targets: str = "all-linear",
    recipe: str = "mixed",
    zero: int | None = None,
    recompute: str | None = None,
    tp: int | None = None,
    pp: int | None = None,
    sequence_parallel: bool | None = None,
    micro_batch: int | None = None,
    seq_len: int | None = None,
    global_batch_tokens: int | None = None,
    mfu: float | None = None,
    price: float | None = None,
) -> Sheet:
    """A plan for `gpus` of a kind; None leaves a choice to the rules of `calc.training`, and the sheet says why."""
    job = _job(shape, method, rank, targets, recipe, options.tokens("--seq-len", seq_len, shape, SEQ_LEN))
    wish = _wish(job, subject, zero, recompute, tp, pp, sequence_parallel, micro_batch)
    batch = _batch(job, global_batch_tokens)
    range_ = (options.share("--mfu", mfu),) * 2 if mfu is not None else MFU
    planner = Planner(job, hardware.find(gpu), batch, wish, sum(range_) / 2)
    if tokens is not None:
        options.amount("--tokens", tokens, 1e18)
    wanted = tokens or (FINETUNING_TOKENS if job.adapters else scaling.tokens_by_ratio(job.active))
    prices = _prices(gpu, price)
    fewest = planner.fewest()
    many = _gpus(planner, wanted, fewest) if gpus is None else _checked(gpus, wish)
    run = Run(subject, planner, planner.plan(many), fewest, wanted, range_, prices, given_mfu=mfu is not None)
    given = train_assumptions.Given(gpus=gpus, tokens=tokens, batch=global_batch_tokens, seq_len=seq_len, price=price)
    return Sheet(
        subject,
        Text(f"Training {subject} on {many:,} × {gpu}", f"用 {many:,} × {gpu} 训练 {subject}"),
        train_sections.sections(run),
        train_data.data(run),
        summary=train_sections.summary(run),
        verdicts=train_words.verdicts(run),
        reasons=train_words.reasons(run, given),
        assumptions=train_assumptions.assumptions(run, given),
    )


def _job(shape: Shape, method: str, rank: int, targets: str, recipe: str, seq_len: int) -> Job:
    options.known("--method", method, "method", METHODS)
    options.known("--recipe", recipe, "recipe", EVERY)
    options.known("--targets", targets, "targets", TARGETS)
    if options.at_least("--rank", rank) > shape.d_model:
        raise UserError(f"--rank must be at most {shape.d_model:,}, the width of the model, not {rank:,}")
    adapters = Adapters(rank, cast("Targets", targets)) if method != "full" else None
    return Job(shape, seq_len, cast("Method", method), recipe, adapters)


def _wish(
    job: Job,
    subject: str,
    zero: int | None,
    recompute: str | None,
    tp: int | None,
    pp: int | None,
    sequence: bool | None,
    micro_batch: int | None,
) -> Wish:
    """What is fixed, checked against the model."""
    if zero is not None and zero not in range(4):
        raise UserError(f"--zero must be 0 to 3, not {zero}")
    if recompute is not None:
        options.known("--recompute", recompute, "policy", get_args(Recompute))
    for option, value in (("--tp", tp), ("--pp", pp), ("--micro-batch", micro_batch)):
        if value is not None:
            options.at_least(option, value)
    if tp is not None and not divides(job, tp, repeat=True):
        raise UserError(f"--tp {tp} does not divide the attention heads of {subject}")
    if pp is not None and pp > 1:
        if job.shape.encoder or any(stack.shared for stack in job.shape.stacks):
            raise UserError(f"--pp {pp}: {subject} has no plain stack of layers to cut into stages")
        if pp > job.shape.n_layers:
            raise UserError(f"--pp {pp} is more than the {job.shape.n_layers} layers of {subject}")
    return Wish(zero, cast("Recompute | None", recompute), tp, pp, sequence, micro_batch)


def _batch(job: Job, tokens: int | None) -> int:
    """Sequences in a global batch."""
    if tokens is None:
        return FINETUNING_SEQUENCES if job.adapters else max(1, BATCH_TOKENS // job.seq_len)
    if options.at_least("--global-batch-tokens", tokens) < job.seq_len:
        raise UserError(f"--global-batch-tokens must be at least a sequence of {job.seq_len:,} tokens, not {tokens:,}")
    return round(tokens / job.seq_len)


def _checked(gpus: int, wish: Wish) -> int:
    options.at_least("--gpus", gpus)
    replica = (wish.tensor or 1) * (wish.pipeline or 1)
    if gpus % replica:
        raise UserError(f"--gpus {gpus} is not divisible by --tp {wish.tensor or 1} × --pp {wish.pipeline or 1}")
    return gpus


def _gpus(planner: Planner, tokens: float, fewest: int | None) -> int:
    """With adapters, the fewest; for all weights, doubled from a replica or a node until `DAYS` suffice."""
    replica = (planner.wish.tensor or 1) * (planner.wish.pipeline or 1)
    if fewest is None:
        return max(NODE, replica)
    if planner.job.adapters:
        return fewest
    many = replica
    peak = planner.gpu.peak(("bf16",))[1]
    days = planner.job.flops * tokens / (peak * planner.mfu) / 86_400
    while many < fewest or (days / many > DAYS and 2 * many <= LARGEST):
        many *= 2
    return many


def _prices(gpu: str, price: float | None) -> tuple[float, float] | None:
    """USD for a GPU and hour."""
    if price is None:
        return PRICE if gpu in PRICED else None
    options.amount("--price", price, 1e6)
    return price, price
