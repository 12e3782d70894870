"""What `calc serve` says beside its numbers: what fits, why this layout is as fast as it is, what was assumed."""

from dataclasses import replace
from math import ceil

from llmprep.calc import serving, units
from llmprep.calc.serving import Plan, Range
from llmprep.calc.shapes import Attention, Experts, Latent
from llmprep.calc.sheets import Verdict
from llmprep.content import Text


def count(n: int, what: str) -> str:
    """`1 GPU`, `2 GPUs`."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def verdicts(plan: Plan, batch: int | None, fewest: Plan | None) -> list[Verdict]:
    """Does the model fit, and does the batch?"""
    name, fit = f"{plan.devices} × {plan.gpu.name}", plan.requests
    if not fit:
        short = units.si(max(-plan.room, plan.request_bytes() - plan.room), "B")
        en, zh = f"{name}: does not fit, {short} short on each GPU", f"{name}：放不下，每张卡还差 {short}"
        if fewest:
            en, zh = f"{en}; {fewest.devices} would do", f"{zh}；需要 {fewest.devices} 张"
        return [Verdict(False, Text(en, zh))]
    found = [
        Verdict(
            True, Text(f"{name}: fits, with {count(fit, 'request')} at once", f"{name}：放得下，可并发 {fit:,} 个请求")
        )
    ]
    if batch and batch > fit:
        text = Text(f"{batch:,} requests do not fit: {fit:,} do", f"{batch:,} 个请求放不下，最多 {fit:,} 个")
        found.append(Verdict(False, text))
    return found


def reasons(plan: Plan, running: int, fewest: Plan | None) -> list[Text]:
    """What limits this replica, and the traps that it invites."""
    found = [*_bounds(plan, running)] if running else []
    found += _layout_reasons(plan, running, fewest)
    if 0 < plan.requests < 8:
        more = next((d for d in serving.degrees(plan.shape) if d > plan.devices), None)
        if more:
            fit = replace(plan, devices=more).requests
            found.append(
                Text(
                    f"The weights leave little room here: on {more} GPUs {fit:,} requests fit.",
                    f"权重几乎占满显存：换成 {more} 张卡可并发 {fit:,} 个请求。",
                )
            )
    if plan.shape.family == "gpt_oss" and plan.dtype != "mxfp4":
        found.append(Text("gpt-oss is released in MXFP4: --dtype mxfp4.", "gpt-oss 发布的就是 MXFP4：--dtype mxfp4。"))
    kind, peak = plan.peak
    if plan.gpu.name in ("h100-sxm", "h100-pcie", "h200-sxm", "b200-sxm", "gb200", "l4", "l40s"):
        found.append(
            Text(
                f"{units.si(peak, 'FLOP/s')} is the dense {kind} peak; data sheets headline the sparse one, twice it.",
                f"{units.si(peak, 'FLOP/s')} 是 {kind} 稠密峰值；规格书标题里常写稀疏峰值，是它的两倍。",
            )
        )
    return found


def _bounds(plan: Plan, running: int) -> list[Text]:
    peak, high, fast = plan.peak[1], plan.flops_share[1], plan.bandwidth_share[1]
    prefill, step = plan.prefill(), plan.decode(running)
    sides = [work.is_compute_bound(plan.gpu, peak, high, fast) for work in (prefill, step)]
    en, zh = [("compute" if side else "bandwidth") for side in sides], [("算力" if side else "带宽") for side in sides]
    weights, cache = units.si(step.weight_bytes, "B"), units.si(step.cache_bytes, "B")
    found = [
        Text(
            f"Prefill is bound by {en[0]}, decoding by {en[1]}: on each GPU a step reads {weights} of weights, once "
            f"for all requests, and {cache} of cache.",
            f"prefill {zh[0]}受限，decode {zh[1]}受限：每步在每张卡上读 {weights} 权重（所有请求共用一次）"
            f"和 {cache} 缓存。",
        )
    ]
    if running > 1:
        alone = 1 / plan.seconds(plan.decode(1))[0]
        found.append(
            Text(
                f"Alone, a request would get up to {units.digits(alone)} tokens/s, and pay for all of the reading.",
                f"若只跑一个请求，最快约 {units.digits(alone)} token/s，但读权重的开销全由它承担。",
            )
        )
    return found


def _layout_reasons(plan: Plan, running: int, fewest: Plan | None) -> list[Text]:
    """What tensor parallelism, MLA and experts do to this model."""
    found = []
    mixers = [stack.layer.mixer for stack in plan.shape.stacks]
    attention = next((m for m in mixers if isinstance(m, Attention)), None)
    if attention and plan.devices > attention.n_kv_heads:
        times = plan.devices // attention.n_kv_heads
        found.append(
            Text(
                f"{plan.devices} GPUs share {attention.n_kv_heads} key/value heads: each head's cache is kept {times} "
                f"times.",
                f"{plan.devices} 张卡分 {attention.n_kv_heads} 个 KV 头：每个头的缓存要存 {times} 份。",
            )
        )
    if plan.devices > 1 and any(isinstance(m, Latent) for m in mixers):
        found.append(
            Text(
                "MLA's latent lies whole on every GPU: more GPUs do not shrink it; data-parallel attention would.",
                "MLA 的潜变量在每张卡上都是完整一份，加卡不会变小；改用数据并行的注意力（DP attention）可以避免。",
            )
        )
    whole, usable = replace(plan, devices=1), plan.gpu.usable(plan.memory_share, plan.workspace)
    layers = ceil((whole.weights.n_bytes + whole.request_bytes()) / max(1.0, usable))
    if fewest and fewest.devices == plan.devices > 2 * layers:
        found.append(
            Text(
                f"Heads can only be dealt out whole; cut by layers (pipeline parallel), about {count(layers, 'GPU')} "
                f"would hold the model.",
                f"头只能整个分配；若按层切分（流水线并行），约 {layers} 张卡就能放下。",
            )
        )
    sparse = next((s.layer.ffn for s in plan.shape.stacks if isinstance(s.layer.ffn, Experts)), None)
    if sparse and running:
        touched = serving.share_of_experts(plan.shape, running) * sparse.n
        found.append(
            Text(
                f"A step of {count(running, 'token')} reads about {touched:.0f} of {sparse.n} experts a layer, if the "
                f"router is even; a request alone reads {sparse.top_k}.",
                f"若路由均匀，一步 {running:,} 个 token 平均要读每层 {sparse.n} 个专家中的约 {touched:.0f} 个；"
                f"单个请求只读 {sparse.top_k} 个。",
            )
        )
    return found


def assumptions(plan: Plan, prices: Range | None, *, given: bool) -> list[Text]:
    """All that a measurement would replace; `given`: the price was asked for."""
    low, high = plan.flops_share
    slow, fast = plan.bandwidth_share
    found = [
        Text(
            f"Prefill reaches {low:.0%} to {high:.0%} of the dense peak, decoding {slow:.0%} to {fast:.0%} of the "
            f"bandwidth: what good engines are seen to reach; measure yours.",
            f"prefill 达到稠密峰值的 {low:.0%}–{high:.0%}，decode 达到显存带宽的 {slow:.0%}–{fast:.0%}："
            f"这是成熟引擎常见的水平，请以自己的实测为准。",
        ),
        Text(
            f"{plan.memory_share:.0%} of the memory is usable, {units.si(plan.workspace, 'B')} of it on each GPU for "
            f"activations and workspace; every request is counted at its full length.",
            f"显存的 {plan.memory_share:.0%} 可用，每张卡另留 {units.si(plan.workspace, 'B')} 给激活和工作区；"
            f"每个请求都按满长度计。",
        ),
        Text(
            f"Arithmetic in {plan.peak[0]}; no queue, no shared prefix; in a long run prompts are computed together, "
            f"up to {serving.CHUNK:,} tokens.",
            f"按 {plan.peak[0]} 计算；不计排队和前缀缓存；长期运行时 prompt 凑到 {serving.CHUNK:,} token 一起算。",
        ),
        Text(
            "Latencies of kernels and of all-reduces are left out: steps of a few milliseconds take longer.",
            "不计 kernel 启动和 all-reduce 的时延：几毫秒的小步实际会更慢。",
        ),
    ]
    if plan.devices > 1:
        found.append(_parallel(plan))
    if prices:
        text = f"${prices[0]:g}" + (f"–{prices[1]:g}" if prices[1] != prices[0] else "")
        found.append(
            Text(
                f"{text} for a GPU and hour, always busy" + ("." if given else ": an assumption; --price sets it."),
                f"每 GPU 小时 {text}，且一直满载" + ("。" if given else "：仅为假设，可用 --price 指定。"),
            )
        )
    else:
        found.append(
            Text("No price is assumed for this device: --price sets one.", "未假设该卡的价格，可用 --price 指定。")
        )
    if plan.shape.context and plan.prompt_tokens + plan.new_tokens > plan.shape.context:
        found.append(
            Text(
                f"Longer than the {plan.shape.context:,} tokens that the model was made for.",
                f"超出模型的上下文长度 {plan.shape.context:,} token。",
            )
        )
    return found


def _parallel(plan: Plan) -> Text:
    if not plan.gpu.link:
        return Text(
            "Tensor parallel; the time of all-reduces is left out: no link bandwidth is known for this device.",
            "张量并行；未计 all-reduce 耗时：该设备的互联带宽未知。",
        )
    link = units.si(plan.gpu.link, "B/s")
    en = f"Tensor parallel: two ring all-reduces a layer at {link} each way, not overlapped"
    zh = f"张量并行：每层两次 ring all-reduce，单向带宽 {link}，不与计算重叠"
    if plan.devices > serving.NODE and plan.gpu.name != "gb200":
        return Text(
            f"{en}; beyond {serving.NODE} GPUs the network is slower than that.",
            f"{zh}；超过 {serving.NODE} 张卡要跨机，实际更慢。",
        )
    return Text(f"{en}.", f"{zh}。")
