"""`calc memory`: weights in every format, the cache, and which device holds them."""

from collections.abc import Sequence
from typing import Any

from llmprep.calc import hardware, kv, options, params, quant, units
from llmprep.calc.hardware import MEMORY_SHARE, WORKSPACE, Gpu
from llmprep.calc.shapes import Shape
from llmprep.calc.sheets import Row, Section, Sheet, Verdict
from llmprep.calc.sheets.params import NAMES
from llmprep.content import Text

DTYPES = ("bf16", "fp8", "int8", "int4-g128", "nf4-dq", "q8_0", "q4_k_m")
GPUS = ("rtx-4090", "l40s", "a100-80gb", "h100-sxm", "h200-sxm", "mi300x")


def sheet(
    shape: Shape,
    subject: str,
    *,
    dtypes: Sequence[str] | None = None,
    seq_len: int | None = None,
    batch: int = 1,
    kv_dtype: str = "bf16",
    gpus: Sequence[str] | None = None,
) -> Sheet:
    """Bytes to run a model: weights in the formats `dtypes`, the first of which is judged, and the cache."""
    names = list(dict.fromkeys(quant.find(name) for name in dtypes or _formats(shape)))
    tokens, batch = options.tokens("--seq-len", seq_len, shape), options.at_least("--batch", batch)
    devices = [hardware.find(name) for name in gpus or GPUS]
    weighed = [quant.weigh(shape, name) for name in names]
    cache = batch * kv.request_bytes(shape, tokens, kv.find(kv_dtype).name)
    n = params.total(shape)
    label = Text(f"cache of {batch:,} × {tokens:,} tokens", f"缓存（{batch:,} × {tokens:,} token）")
    cached = Row(label, cache, "B", f"{kv.find(kv_dtype).name}, see calc kv")
    rows = tuple(
        Row(Text(w.format, w.format), w.n_bytes, "B", f"{n:,} × {w.bits_per_weight:.4f} bits / 8") for w in weighed
    )
    first = weighed[0]
    parts = tuple(Row(Text(part, NAMES[part]), b, "B") for part, b in first.by_part().items())
    weights = Text(f"weights in {first.format}", f"{first.format} 权重")
    needed = Row(Text("weights and cache", "权重与缓存"), first.n_bytes + cache, "B")
    sections = (
        Section(Text("weights", "权重"), rows),
        Section(weights, parts, Row(weights, first.n_bytes, "B", rows[0].formula), _detail(first)),
        Section(Text("in memory", "显存占用"), (Row(weights, first.n_bytes, "B"), cached), needed),
    )
    usable = {gpu.name: gpu.usable() for gpu in devices}
    data: dict[str, Any] = {
        "model": subject,
        "params": n,
        "weights": {w.format: _numbers(w) for w in weighed},
        "seq_len": tokens,
        "batch": batch,
        "kv_dtype": kv.find(kv_dtype).name,
        "cache_bytes": round(cache),
        "gpus": {
            gpu.name: {
                "memory_bytes": round(gpu.memory),
                "usable_bytes": round(usable[gpu.name]),
                "head_room_bytes": {w.format: round(usable[gpu.name] - w.n_bytes - cache) for w in weighed},
                "fits": {w.format: w.n_bytes + cache <= usable[gpu.name] for w in weighed},
            }
            for gpu in devices
        },
    }
    return Sheet(
        subject,
        Text(f"Memory to run {subject}", f"运行 {subject} 所需显存"),
        sections,
        data,
        summary=(*rows, cached),
        verdicts=tuple(_verdict(gpu, weighed, cache) for gpu in devices),
        reasons=(*_reasons(first, cache), *_fused_experts(weighed)),
        assumptions=tuple(_assumptions(weighed)),
    )


def _formats(shape: Shape) -> tuple[str, ...]:
    """gpt-oss comes in MXFP4: that first."""
    return ("mxfp4", *DTYPES) if shape.family == "gpt_oss" else DTYPES


def _numbers(weighed: quant.Weighed) -> dict[str, Any]:
    return {
        "bytes": round(weighed.n_bytes),
        "bits_per_weight": weighed.bits_per_weight,
        "scale_bytes": round(sum(piece.scales for piece in weighed.pieces)),
        "parts": [
            {"part": p.part, "stored_as": p.stored_as, "params": p.n, "bytes": round(p.n_bytes)} for p in weighed.pieces
        ],
    }


def _detail(weighed: quant.Weighed) -> tuple[Row, ...]:
    """Every part, what it is stored as, and with how many bits a weight, scales included."""
    return tuple(
        Row(
            Text(f"{p.part}: {p.stored_as}", f"{NAMES[p.part]}：{p.stored_as}"),
            p.n_bytes,
            "B",
            f"{p.n:,} × {units.digits(8 * p.n_bytes / p.n)} bits / 8"
            + (f", {units.si(p.scales, 'B')} of it scales" if p.scales else ""),
        )
        for p in weighed.pieces
        if p.n
    )


def _verdict(gpu: Gpu, weighed: Sequence[quant.Weighed], cache: float) -> Verdict:
    """Whether the first format fits; if not, the largest other one that does."""
    rooms = [(w.format, gpu.usable() - w.n_bytes - cache) for w in weighed]
    (name, room), others = rooms[0], sorted((r for r in rooms[1:] if r[1] >= 0), key=lambda r: r[1])
    size, amount = units.si(gpu.memory, "B"), units.si(abs(room), "B")
    if room >= 0:
        en, zh = f"{name} fits, {amount} to spare", f"{name} 放得下，还剩 {amount}"
    else:
        en, zh = f"{name} does not fit, {amount} short", f"{name} 放不下，差 {amount}"
        if others:
            other, left = others[0][0], units.si(others[0][1], "B")
            en, zh = f"{en}; {other} fits, {left} to spare", f"{zh}；{other} 放得下，还剩 {left}"
    return Verdict(room >= 0, Text(f"{gpu.name} ({size}): {en}", f"{gpu.name}（{size}）：{zh}"))


def _reasons(first: quant.Weighed, cache: float) -> list[Text]:
    total = first.n_bytes + cache
    found = [
        Text(
            f"{units.si(total, 'B')} are {units.binary(total)}: a GB is 10⁹ bytes, a GiB 2³⁰. Weights are told in "
            f"GB, nvidia-smi counts in MiB.",
            f"{units.si(total, 'B')} 即 {units.binary(total)}：GB 是 10⁹ 字节，GiB 是 2³⁰ 字节。"
            f"权重大小习惯用 GB，nvidia-smi 用 MiB。",
        )
    ]
    if any(p.stored_as != first.pieces[0].stored_as for p in first.pieces):
        found.append(
            Text(
                f"{first.format} takes {first.bits_per_weight:.3f} bits a weight over the whole model: scales count, "
                f"and so does what stays in more bits.",
                f"{first.format} 按整个模型平均每个权重 {first.bits_per_weight:.3f} bit："
                f"scale 和未量化的部分也要算进去。",
            )
        )
    return found


def _fused_experts(weighed: Sequence[quant.Weighed]) -> list[Text]:
    """What bitsandbytes misses in a mixture of experts as transformers 5 builds it."""
    for found in weighed:
        experts = sum(p.n for p in found.pieces if p.part == "experts" and p.stored_as == found.format)
        if experts and found.format in ("nf4", "nf4-dq"):
            loaded = found.n_bytes - found.by_part()["experts"] + 2 * experts
            return [
                Text(
                    f"{found.format} is counted with quantised experts. transformers 5 fuses them into 3-D tensors, "
                    f"which bitsandbytes leaves in 16 bits: loaded that way, {units.si(loaded, 'B')}.",
                    f"{found.format} 按专家也量化计算。transformers 5 把专家合并成三维张量，bitsandbytes 不会量化它们："
                    f"这样加载要 {units.si(loaded, 'B')}。",
                )
            ]
    return []


def _assumptions(weighed: Sequence[quant.Weighed]) -> list[Text]:
    share, work = f"{MEMORY_SHARE:.0%}", units.si(WORKSPACE, "B")
    found = [
        Text(
            f"{share} of a device's memory is usable, {work} of that for activations and workspace.",
            f"显存的 {share} 可用，其中 {work} 留给激活和工作区。",
        ),
        Text(
            "Memory as the data sheet prints it, in GB; a driver often shows more (H100: 81,559 MiB, 85.5 GB).",
            "显存按规格书的 GB 计；驱动显示的往往略多（H100 为 81,559 MiB，即 85.5 GB）。",
        ),
    ]
    names = [w.format for w in weighed]
    if any(quant.layout(name) and name not in ("bf16", "fp16", "fp32", "mxfp4") for name in names):
        found.append(
            Text(
                "Linear layers of the blocks are quantised; embedding, output head, norms, biases and routers stay in "
                "16 bits, as bitsandbytes, GPTQ and AWQ leave them.",
                "只量化各层内的线性层；词嵌入、输出头、归一化、bias、路由器保持 16 bit"
                "（bitsandbytes、GPTQ、AWQ 都如此）。",
            )
        )
    if any(quant.layout(name) is None for name in names):
        found.append(
            Text(
                "GGUF by llama.cpp's recipes: token table and output quantised too, norms in FP32; the file adds its "
                "metadata.",
                "GGUF 按 llama.cpp 的配方：词表和输出也量化，归一化为 FP32；文件本身另有元数据。",
            )
        )
    first = weighed[0]
    if first.source.en:
        found.append(Text(f"{first.format}: {first.source.en}.", f"{first.format}：{first.source.zh}。"))
    return found
