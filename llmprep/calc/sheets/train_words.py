"""What `calc train` says in sentences: what fits, why this layout, what the numbers rest on."""

from collections.abc import Iterator

from llmprep.calc import units
from llmprep.calc.parallel import Held, Layout, hold
from llmprep.calc.run import Run
from llmprep.calc.sheets import Verdict
from llmprep.calc.sheets.train_assumptions import Given
from llmprep.calc.training import BUSY_TOKENS, ENOUGH_TOKENS, FAST_LINK, LARGEST, NEAR, NODE
from llmprep.content import Text

LARGE_LOGITS = 0.04  # of the usable memory: worth a word
NAMES = {
    "none": Text("nothing recomputed", "不重计算"),
    "selective": Text("selective", "选择性重计算"),
    "full": Text("full recomputation", "完全重计算"),
}


def verdicts(run: Run) -> tuple[Verdict, ...]:
    """Each ZeRO stage and each way of recomputing with the smallest micro-batch, then the plan."""
    lay, lines = run.layout, []
    size = run.planner.wish.micro_batch or 1
    if lay.data > 1:
        name = NAMES[lay.recompute]
        for i, held in enumerate(run.stages):
            what = Text(f"ZeRO-{i}, {name.en}, micro-batch {size}", f"ZeRO-{i}，{name.zh}，微批次 {size}")
            lines.append(_verdict(run, what, held))
    for policy, held in run.policies.items():
        if lay.data == 1 or policy != lay.recompute:
            name, en, zh = NAMES[policy], f"ZeRO-{lay.zero}, ", f"ZeRO-{lay.zero}，"
            stage = Text(en, zh) if lay.data > 1 else Text("", "")
            what = Text(f"{stage.en}{name.en}, micro-batch {size}", f"{stage.zh}{name.zh}，微批次 {size}")
            lines.append(_verdict(run, what, held))
    plan = Text(f"this plan, micro-batch {lay.micro_batch}", f"本方案，微批次 {lay.micro_batch}")
    lines.append(_verdict(run, plan, run.plan.held))
    if run.fewest is None:
        text = Text(f"no layout fits on up to {LARGEST:,} GPUs", f"{LARGEST:,} 张卡以内没有放得下的方案")
        lines.append(Verdict(False, text))
    return tuple(lines)


def _verdict(run: Run, what: Text, held: Held) -> Verdict:
    spare, states, total = run.plan.room - held.total, units.si(held.states, "B"), units.si(held.total, "B")
    rest = units.si(abs(spare), "B")
    en = f"fits, {rest} to spare" if spare >= 0 else f"does not fit, {rest} too much"
    zh = f"放得下，余 {rest}" if spare >= 0 else f"放不下，超出 {rest}"
    return Verdict(
        spare >= 0,
        Text(
            f"{what.en}: {states} of states, {total} in all: {en}", f"{what.zh}：模型状态 {states}，合计 {total}：{zh}"
        ),
    )


def reasons(run: Run, given: Given) -> tuple[Text, ...]:
    """Why this layout, and the traps that this model sets."""
    return (*_number(run, given), *_rule(run), *_batch(run), *_traps(run))


def _number(run: Run, given: Given) -> Iterator[Text]:
    if given.gpus is not None or run.fewest is None:
        return
    n = run.layout.gpus
    if run.job.adapters:
        if n > 1:
            yield Text(f"{n:,} GPUs: the fewest that hold this job.", f"{n:,} 张卡：放得下这个任务的最少卡数。")
        return
    days = [f"{seconds / 86_400:,.0f}" for seconds in run.seconds(run.job.flops)]
    span = "–".join(dict.fromkeys(days))
    yield Text(
        f"{n:,} GPUs: doubled until {units.short(run.tokens)} tokens take about a month, here {span} days.",
        f"{n:,} 张卡：逐次翻倍，直到 {units.short(run.tokens)} token 约一个月能训完，这里是 {span} 天。",
    )


def _rule(run: Run) -> Iterator[Text]:
    lay, plan, wish, n, zero = run.layout, run.plan, run.planner.wish, f"{run.layout.gpus:,}", run.layout.zero
    if not plan.fits:
        yield Text(f"Nothing fits on {n} GPUs; this layout lacks least.", f"{n} 张卡没有放得下的方案，这个差得最少。")
        return
    if lay.gpus == 1:
        yield Text("One GPU holds everything: no parallelism.", "一张卡就放得下，不需要并行。")
    elif plan.rule == 1 and wish.zero is None:
        yield _lowest_stage(run)
    if lay.tensor > 1 and wish.tensor is None:
        yield from _tensor(run)
    if lay.pipeline > 1:
        yield from _pipeline(run)
    if lay.tensor > NODE or (lay.tensor > 1 and (run.planner.gpu.link or 0) < FAST_LINK):
        yield Text(
            f"Tensor parallelism over {lay.tensor} GPUs leaves the fast links: expect a low MFU.",
            f"{lay.tensor} 卡张量并行超出了高速互联的范围，MFU 会很低。",
        )
    if not run.planner.hides(lay):
        yield Text(
            f"ZeRO-{zero} sends for longer than a micro-batch computes: expect the low end of the MFU range.",
            f"ZeRO-{zero} 的通信时间比一个微批次的计算还长，MFU 按下限估。",
        )
    if plan.rule == 5:
        more = f"{run.job.hardware_flops('full') / run.job.hardware_flops('selective') - 1:.0%}"
        yield Text(
            f"Full recomputation, the last resort: {more} more arithmetic, but nothing else fits.",
            f"最后的手段是完全重计算：计算量多 {more}，但别的方案都放不下。",
        )


def _lowest_stage(run: Run) -> Text:
    lay, zero = run.layout, run.layout.zero
    lower = [i for i in range(zero) if run.stages[i].total <= run.plan.room]
    if zero == 0:
        return Text("Plain data parallelism fits: nothing needs to be sharded.", "普通数据并行就放得下，不必切分。")
    if not lower:
        return Text(
            f"ZeRO-{zero} is the lowest stage that fits, and the lower the stage, the less is sent.",
            f"ZeRO-{zero} 是放得下的最低 stage；stage 越低，通信越少。",
        )
    if lay.gpus <= NODE:
        return Text(
            f"ZeRO-{lower[0]} fits too, but with fewer than {BUSY_TOKENS:,} tokens at a time. Inside a node what "
            f"ZeRO-{zero} sends is cheap, and the memory that it frees holds a larger micro-batch.",
            f"ZeRO-{lower[0]} 也放得下，但一次不到 {BUSY_TOKENS:,} 个 token。节点内 ZeRO-{zero} 的通信很便宜，"
            f"省出的显存可以放更大的微批次。",
        )
    return Text(
        f"ZeRO-{lower[0]} fits too, but cannot hide what it sends behind arithmetic.",
        f"ZeRO-{lower[0]} 也放得下，但通信藏不到计算后面。",
    )


def _tensor(run: Run) -> Iterator[Text]:
    lay, alone = run.layout, run.whole[run.layout.recompute].activations
    if alone > run.plan.room:
        kept = units.si(alone, "B")
        yield Text(
            f"One sequence leaves {kept} of activations, more than a GPU holds, and ZeRO does not divide them.",
            f"一条序列的激活值就有 {kept}，单卡放不下，而 ZeRO 切不到激活值。",
        )
    else:
        most = hold(run.job, Layout(data=lay.gpus, zero=3, recompute=lay.recompute)).total
        held = units.si(most, "B")
        yield (
            Text(
                f"Without model parallelism a GPU would hold {held} even with ZeRO-3.",
                f"不做模型并行，即使 ZeRO-3 每卡也要 {held}。",
            )
            if most > run.plan.room
            else Text(
                "Without model parallelism it takes ZeRO-2 or 3, which send for longer than a micro-batch computes.",
                "不做模型并行就要用 ZeRO-2 或 ZeRO-3，通信时间比一个微批次的计算还长。",
            )
        )
    yield Text(
        f"Tensor parallelism over {lay.tensor} GPUs of a node divides both; sequence parallelism the rest of a layer.",
        f"节点内 {lay.tensor} 卡张量并行，状态和激活值都切开；层内其余的激活值由序列并行切开。",
    )


def _pipeline(run: Run) -> Iterator[Text]:
    lay, wish, idle = run.layout, run.planner.wish, f"{run.layout.bubble:.1%}"
    if wish.pipeline is None:
        flat = lay._replace(pipeline=1, data=lay.data * lay.pipeline, zero=1, micro_batch=1)
        held = units.si(hold(run.job, flat).total, "B")
        yield Text(
            f"{lay.pipeline} pipeline stages: without them a GPU would hold {held}. Bubble {idle}; interleaving "
            f"makes it smaller.",
            f"流水线并行 {lay.pipeline} 段：不分段每卡要 {held}。流水线气泡 {idle}，交错调度可再减小。",
        )
    if lay.zero >= 2:
        yield Text(
            "ZeRO-2 and 3 with a pipeline scatter gradients for every micro-batch; DeepSpeed refuses the combination.",
            "流水线并行配 ZeRO-2/3，每个微批次都要 reduce-scatter 梯度；DeepSpeed 不支持这种组合。",
        )


def _batch(run: Run) -> Iterator[Text]:
    lay, asked = run.layout, run.planner.batch * run.job.seq_len
    if run.batch_tokens > NEAR * asked:
        yield Text(
            f"The global batch grows from {asked:,} to {run.batch_tokens:,} tokens: every replica needs a sequence.",
            f"全局 batch 从 {asked:,} 增大到 {run.batch_tokens:,} token：每个数据并行副本至少要有一条序列。",
        )
    if run.planner.wish.micro_batch is None and run.plan.fits:
        yield Text(
            f"Micro-batch {lay.micro_batch}: the largest power of two that fits and is of use (up to "
            f"{ENOUGH_TOKENS:,} tokens); a step accumulates {lay.accumulation:,}.",
            f"微批次 {lay.micro_batch}：放得下且有用的最大 2 的幂（不超过 {ENOUGH_TOKENS:,} token），"
            f"累积 {lay.accumulation:,} 次走一步。",
        )


def _traps(run: Run) -> Iterator[Text]:
    job = run.job
    if run.layout.data > 1:
        yield Text(
            "ZeRO shares out states. Activations are each replica's own: more data-parallel GPUs do not shrink them.",
            "ZeRO 切的是模型状态；激活值每个副本各存各的，数据并行加卡不会变小。",
        )
    if job.recipe_name == "mixed" and not job.adapters:
        yield Text(
            f"16 B a parameter; where gradients are kept in FP32, as DeepSpeed's estimator assumes, it is 18 B: "
            f"{units.si(18 * job.trained, 'B')} in all.",
            f"每个参数 16 B；若梯度用 FP32（DeepSpeed 估算器的口径）则是 18 B，共 {units.si(18 * job.trained, 'B')}。",
        )
    if run.plan.held.head > LARGE_LOGITS * run.plan.room:
        words, taken = f"{job.shape.vocab_size:,}", units.si(run.plan.held.head, "B")
        yield Text(
            f"Logits over {words} words take {taken}: a loss in chunks, or fused with the head, saves most of it.",
            f"词表 {words}，logits 占 {taken}：分块计算或与输出头融合的交叉熵能省掉大部分。",
        )
    if job.method == "qlora":
        yield Text(
            "QLoRA saves memory, not time: NF4 is dequantised for every use, and arithmetic stays in BF16.",
            "QLoRA 省的是显存不是时间：每次用到都要把 NF4 反量化，计算仍是 BF16。",
        )
