"""The sections of `calc train`: states, activations, what a GPU holds, time and cost, layout."""

from llmprep.calc import memory, scaling, units
from llmprep.calc.hardware import MEMORY_SHARE, WORKSPACE
from llmprep.calc.job import Job
from llmprep.calc.run import Range, Run
from llmprep.calc.sheets import Row, Section, Unit
from llmprep.calc.sheets.train_kept import kept
from llmprep.content import Text

PARTS = {
    "weights": Text("weights", "权重"),
    "gradients": Text("gradients", "梯度"),
    "optimizer": Text("optimiser states", "优化器状态"),
    "frozen": Text("frozen base", "冻结的基座权重"),
    "activations": Text("activations of the layers", "各层激活值"),
    "recomputed": Text("one layer, recomputed", "重计算中的一层"),
    "head": Text("last norm and logits", "末层归一化与 logits"),
    "buffers": Text("buffers", "缓冲区"),
}


def sections(run: Run) -> tuple[Section, ...]:
    """In the order of a whiteboard: states, activations, a GPU, time, layout."""
    return states(run), kept(run), on_a_gpu(run), time(run), layout(run)


def states(run: Run) -> Section:
    """What lives from step to step, before anything is divided."""
    job, recipe = run.job, run.job.recipe
    n = f"{job.trained:,}"
    notes = {"weights": recipe.weights, "gradients": recipe.gradients, "optimizer": recipe.optimizer}
    rows = [Row(PARTS[k], b * job.trained, "B", f"{b:g} B × N = {b:g} × {n}") for k, b in notes.items()]
    if job.adapters:
        rows.append(Row(PARTS["frozen"], job.frozen_bytes, "B", _base(job)))
    detail = [
        Row(Text(f"a parameter in {name}", f"{name} 每个参数"), other.total, "B", _recipe(other, job.trained))
        for name, other in memory.EVERY.items()
    ]
    what = Text("states, all GPUs together, unsharded", "模型状态（切分前的总量）")
    formula = f"{recipe.total:g} B × {n}" + (f" + {units.si(job.frozen_bytes, 'B')}" if job.adapters else "")
    return Section(what, tuple(rows), Row(Text("all states", "合计"), job.states, "B", formula), tuple(detail))


def _recipe(recipe: memory.Recipe, n: int) -> str:
    parts = f"{recipe.weights:g} + {recipe.gradients:g} + {recipe.optimizer:g}"
    return f"{parts}: {units.si(recipe.total * n, 'B')}"


def _base(job: Job) -> str:
    if job.method == "lora":
        return f"{job.recipe.itemsize} B × {job.total:,}"
    bits = 8 * job.frozen_bytes / job.total
    return f"{job.total:,} × {bits:.3f} bits: matrices of the layers in NF4 with double quantisation, the rest in BF16"


def on_a_gpu(run: Run) -> Section:
    """What the fullest GPU holds, part by part."""
    held, lay, job = run.plan.held, run.layout, run.job
    d, split = lay.data, f" / {lay.tensor * lay.pipeline} (tp·pp)" if lay.tensor * lay.pipeline > 1 else ""
    shard = [f" / {d}" if lay.zero >= first and d > 1 else "" for first in (3, 2, 1)]
    recipe, batch = job.recipe, f"micro-batch {lay.micro_batch} × {job.seq_len:,} tokens"
    formulas = {
        "weights": f"{recipe.weights:g} B × N{split}{shard[0]}",
        "gradients": f"{recipe.gradients:g} B × N{split}{shard[1]}",
        "optimizer": f"{recipe.optimizer:g} B × N{split}{shard[2]}",
        "frozen": f"{units.si(job.frozen_bytes, 'B')}{split}{shard[0]}",
        "activations": f"{batch}, {lay.recompute}"
        + (f", {lay.in_flight(0)} micro-batches in flight on the first stage" if lay.pipeline > 1 else ""),
        "recomputed": f"{batch}, one layer",
        "head": batch,
        "buffers": _buffers(run),
    }
    rows = [Row(label, getattr(held, k), "B", formulas[k]) for k, label in PARTS.items() if getattr(held, k)]
    total = Row(Text("on a GPU", "单卡合计"), held.total, "B")
    memory_row = Row(
        Text("usable", "可用显存"),
        run.plan.room,
        "B",
        f"{MEMORY_SHARE:.0%} of {units.si(run.planner.gpu.memory, 'B')} − {units.si(WORKSPACE, 'B')}",
    )
    return Section(Text("on the fullest GPU", "负载最重的一张卡"), tuple(rows), total, (memory_row,))


def _buffers(run: Run) -> str:
    parts = {
        "two layers gathered, and the tables": run.layout.zero == 3 and run.layout.data > 1,
        "a layer's gradients": run.layout.zero >= 2 and run.layout.data > 1,
        "a matrix dequantised": run.job.method == "qlora",
    }
    return "; ".join(part for part, there in parts.items() if there)


def time(run: Run) -> Section:
    """From FLOPs to days and dollars; ranges follow the assumed utilisation."""
    job, n = run.job, run.layout.gpus
    rule = "4N" if job.adapters else "6N"
    mfu = _percents(run.mfu)
    share = f"/ ({n:,} × {units.si(run.peak, 'FLOP/s')} × {mfu})"
    by_rule, counted = job.flops_by_6n * run.tokens, job.flops * run.tokens
    rows = [
        Row(Text("tokens", "训练 token 数"), run.tokens, "tokens"),
        Row(Text(f"FLOPs by {rule}D", f"FLOPs（按 {rule}D）"), by_rule, "FLOP", _rule_formula(run)),
        Row(
            Text("FLOPs counted", "FLOPs（逐项计数）"),
            counted,
            "FLOP",
            "matmuls as they run, 3 × forward",
        ),
        _range(Text("MFU, assumed" if not run.given_mfu else "MFU, given", "MFU"), run.mfu, "%"),
        _range(Text("throughput", "总吞吐"), run.tokens_per_second, "tok/s"),
        _range(
            Text(f"time by {rule}D", f"时间（按 {rule}D）"),
            run.seconds(job.flops_by_6n),
            "s",
            f"{units.si(by_rule, 'FLOP')} {share}",
        ),
        _range(
            Text("time, FLOPs counted", "时间（逐项计数）"),
            run.seconds(job.flops),
            "s",
            f"{units.si(counted, 'FLOP')} {share}",
        ),
        _range(Text("GPU-hours", "GPU 卡时"), run.gpu_hours(job.flops), "", f"{n:,} GPUs × time, FLOPs counted"),
    ]
    if run.cost and run.prices:
        low, high = run.prices
        price = f"${low:g}" if low == high else f"${low:g}–{high:g}"
        rows.append(_range(Text("cost", "费用"), run.cost, "USD", f"GPU-hours × {price}"))
    hfu = _range(Text("HFU, assumed" if not run.given_mfu else "HFU", "HFU（计入重计算）"), run.hfu, "%")
    hours = _range(Text(f"GPU-hours by {rule}D", f"GPU 卡时（按 {rule}D）"), run.gpu_hours(job.flops_by_6n), "")
    return Section(Text("time and cost", "时间与费用"), tuple(rows), detail=(hours, hfu, *_optimal(job)))


def _optimal(job: Job) -> list[Row]:
    """Compute-optimal tokens for a model of this size, by three published answers that disagree."""
    if job.adapters:
        return []
    n = job.active
    return [
        Row(
            Text("20 a parameter", "每参数 20 token"),
            scaling.tokens_by_ratio(n),
            "tokens",
            "Chinchilla, arXiv 2203.15556, table 3",
        ),
        Row(
            Text("Chinchilla's fit", "Chinchilla 拟合"),
            scaling.HOFFMANN.tokens_for(n),
            "tokens",
            "Approach 3 as printed: contradicts table 3",
        ),
        Row(
            Text("fitted again", "重新拟合"),
            scaling.BESIROGLU.tokens_for(n),
            "tokens",
            "Besiroglu et al., arXiv 2404.10102",
        ),
    ]


def _rule_formula(run: Run) -> str:
    job = run.job
    if job.adapters:
        return f"(4 × {job.active:,} + 6 × {job.active_adapters:,}) × {run.tokens:,.0f}"
    return f"6 × {job.active:,} × {run.tokens:,.0f}"


def layout(run: Run) -> Section:
    """The numbers that go into a launcher's config."""
    lay, sent = run.layout, run.sent
    rows = [
        Row(Text("GPUs", "GPU 数"), lay.gpus, "GPUs", "tensor × pipeline × data"),
        Row(Text("tensor parallel", "张量并行"), lay.tensor, ""),
        Row(Text("pipeline parallel", "流水线并行"), lay.pipeline, ""),
        Row(Text("data parallel", "数据并行"), lay.data, ""),
        Row(Text("ZeRO stage (3: FSDP)", "ZeRO stage（3 即 FSDP）"), lay.zero, ""),
        Row(Text("micro-batch", "微批次"), lay.micro_batch, "", "sequences on a replica at a time"),
        Row(Text("gradient accumulation", "梯度累积"), lay.accumulation, "", "micro-batches in a step"),
        Row(
            Text("global batch", "全局 batch"),
            run.batch_tokens,
            "tokens",
            f"{lay.data:,} × {lay.micro_batch} × {lay.accumulation:,} × {run.job.seq_len:,}",
        ),
    ]
    if lay.pipeline > 1:
        bubble = f"(p − 1)/m = {lay.pipeline - 1}/{lay.accumulation}; (p − 1)/(v·m) with v chunks of layers a GPU"
        rows.append(
            Row(Text("pipeline bubble, over working time", "流水线气泡（相对工作时间）"), lay.bubble, "%", bubble)
        )
    if run.fewest:
        rows.append(
            Row(Text("fewest GPUs that do", "最少 GPU 数"), run.fewest, "GPUs", "any layout, full recomputation too")
        )
    brim = f"⌈{units.si(run.job.states, 'B')} / {units.si(run.planner.gpu.memory, 'B')}⌉, no activations"
    rows.append(
        Row(Text("fewest for the states alone", "只放模型状态的最少 GPU 数"), run.fewest_for_states, "GPUs", brim)
    )
    m = lay.accumulation
    detail = [
        Row(
            Text("sent by a GPU in a step: data parallel", "每步单卡发送：数据并行"),
            sent.data_once + m * sent.data_each,
            "B",
            f"{units.si(sent.data_once, 'B')} once, {units.si(sent.data_each, 'B')} each micro-batch",
        ),
        Row(Text("sent: tensor parallel", "每步单卡发送：张量并行"), m * sent.tensor_each, "B"),
        Row(Text("sent: pipeline parallel", "每步单卡发送：流水线并行"), m * sent.pipeline_each, "B"),
    ]
    return Section(Text("layout", "并行方案"), tuple(rows), detail=tuple(row for row in detail if row.value))


def summary(run: Run) -> tuple[Row, ...]:
    """What --compare lines up."""
    rows = [
        Row(Text("parameters trained", "可训练参数"), run.job.trained, "params"),
        Row(Text("states", "模型状态"), run.job.states, "B"),
        Row(Text("GPUs", "GPU 数"), run.layout.gpus, "GPUs"),
        Row(Text("on a GPU", "单卡合计"), run.plan.held.total, "B"),
        Row(Text("tokens", "训练 token 数"), run.tokens, "tokens"),
        _range(Text("time", "时间"), run.seconds(run.job.flops), "s"),
        _range(Text("GPU-hours", "GPU 卡时"), run.gpu_hours(run.job.flops), ""),
    ]
    if run.fewest:
        rows.insert(3, Row(Text("fewest GPUs that do", "最少 GPU 数"), run.fewest, "GPUs"))
    if run.cost:
        rows.append(_range(Text("cost", "费用"), run.cost, "USD"))
    return tuple(rows)


def _range(label: Text, low_high: Range, unit: Unit, formula: str = "") -> Row:
    low, high = low_high
    return Row(label, low, unit, formula, high if high != low else None)


def _percents(low_high: Range) -> str:
    low, high = low_high
    return f"{low:.0%}" if low == high else f"{low:.0%}–{high:.0%}"
