"""What the numbers of `calc train` rest on: choices that were not asked for, and what is left out."""

from collections.abc import Iterator
from typing import NamedTuple

from llmprep.calc import units
from llmprep.calc.run import Run
from llmprep.calc.shapes import Attention, Experts, Latent
from llmprep.calc.training import BUBBLE, NODE
from llmprep.content import Text


class Given(NamedTuple):
    """Options as they were given; None: chosen here."""

    gpus: int | None
    tokens: float | None
    batch: int | None
    seq_len: int | None
    price: float | None


def assumptions(run: Run, given: Given) -> tuple[Text, ...]:
    """What was not asked for, and what is left out."""
    return (*_choices(run, given), *_left_out(run))


def _choices(run: Run, given: Given) -> Iterator[Text]:
    job = run.job
    if given.tokens is None:
        many = units.short(run.tokens)
        yield (
            Text(f"{many} tokens: 50,000 examples of 1,000", f"训练 {many} token：5 万条样本，每条 1,000 token")
            if job.adapters
            else Text(
                f"{many} tokens: 20 a parameter that a token uses, Chinchilla's optimum",
                f"训练 {many} token：按 Chinchilla，每个激活参数 20 个 token",
            )
        )
    if given.batch is None or given.seq_len is None:
        yield Text(
            f"sequences of {job.seq_len:,} tokens, {run.planner.batch:,} in a global batch",
            f"序列长 {job.seq_len:,} token，全局 batch {run.planner.batch:,} 条",
        )
    if job.shape.context and job.seq_len > job.shape.context:
        yield Text(
            f"longer than the {job.shape.context:,} tokens that the model was trained on",
            f"超过模型训练时的上下文长度 {job.shape.context:,}",
        )
    if not run.given_mfu:
        yield Text(
            "MFU of 35–50% without full recomputation: Llama 3 405B ran at 38–43%, LLaMA 65B and 13B at 48% and 51%",
            "不做完全重计算时 MFU 取 35–50%：Llama 3 405B 为 38–43%，LLaMA 65B、13B 为 48%、51%",
        )
    if run.prices and given.price is None:
        low, high = run.prices
        yield Text(f"${low:g}–{high:g} for a GPU and hour: an assumption", f"每卡时 ${low:g}–{high:g}，为假设值")


def _left_out(run: Run) -> Iterator[Text]:
    job, mixers = run.job, [stack.layer.mixer for stack in run.job.shape.stacks]
    network = units.si(run.planner.network, "B/s")
    yield Text(
        "10% of memory is kept for fragmentation and NCCL, 1 GB for the CUDA context; the optimiser is fused",
        "显存留 10% 给碎片和 NCCL，1 GB 给 CUDA context；优化器用融合实现，不产生临时副本",
    )
    yield Text(
        "fused kernels (norm, SwiGLU, FlashAttention), no dropout; 16-bit logits and their FP32 copy alive together",
        "算子已融合（归一化、SwiGLU、FlashAttention），无 dropout；16 位 logits 与 FP32 副本同时在显存里",
    )
    yield Text(
        f"nodes of {NODE} GPUs, {network} to other nodes for each; pipelines run 1F1B, bubbles up to "
        f"{BUBBLE:.0%} preferred",
        f"每节点 {NODE} 卡，跨节点每卡 {network}；流水线为 1F1B，气泡尽量不超过 {BUBBLE:.0%}",
    )
    if job.adapters:
        yield Text(
            "adapters in the dtype of the recipe; peft makes them FP32 unless autocast_adapter_dtype=False",
            "适配器精度按所选 recipe；peft 默认转成 FP32，除非 autocast_adapter_dtype=False",
        )
    if any(isinstance(stack.layer.ffn, Experts) for stack in job.shape.stacks):
        yield Text(
            "experts are chosen evenly; expert parallelism is not planned",
            "专家负载均衡；未规划专家并行",
        )
    if not all(isinstance(mixer, Attention | Latent) for mixer in mixers):
        yield Text(
            "activations of recurrent layers as their fused kernels keep them: read from source, not measured",
            "循环层的激活值按融合算子的源码估算，未经实测",
        )
    if job.recipe.itemsize == 4:
        yield Text("time at the 16-bit peak, as torch.autocast runs it", "时间按 16 位峰值估，即用 torch.autocast")
