"""`calc serve`: what a replica holds, how fast it answers, what a million tokens cost."""

from dataclasses import replace
from typing import Any

from llmprep.calc import hardware, kv, options, quant, serving, units
from llmprep.calc.hardware import MEMORY_SHARE, WORKSPACE
from llmprep.calc.serving import Plan, Range, Work
from llmprep.calc.shapes import Shape
from llmprep.calc.sheets import Row, Section, Sheet
from llmprep.calc.sheets import serve_words as words
from llmprep.content import Text
from llmprep.errors import UserError


def sheet(
    shape: Shape,
    subject: str,
    *,
    gpu: str = "h100-sxm",
    n_gpus: int | None = None,
    dtype: str = "bf16",
    kv_dtype: str = "bf16",
    prompt_tokens: int = 1024,
    new_tokens: int = 512,
    batch: int | None = None,
    price: float | Range | None = None,
    memory_share: float = MEMORY_SHARE,
    workspace: float = WORKSPACE,
    bandwidth_share: Range = serving.BANDWIDTH_SHARE,
    flops_share: Range = serving.FLOPS_SHARE,
) -> Sheet:
    """One replica on `n_gpus` devices (the fewest that hold it), with as many requests as fit or at most `batch`.

    `price` is USD for a GPU and hour, or its range; without one, serving.PRICE for the class of device it is meant for.
    """
    if not shape.causal:
        raise UserError(f"{subject}: an encoder generates no tokens; calc memory and calc flops tell what it takes")
    prices = _prices(gpu, price)
    asked = Plan(
        shape,
        hardware.find(gpu),
        1,
        quant.find(dtype),
        kv.find(kv_dtype).name,
        options.at_least("--prompt", prompt_tokens),
        options.at_least("--new", new_tokens),
        options.share("memory_share", memory_share),
        workspace,
        options.between("bandwidth_share", bandwidth_share),
        options.between("flops_share", flops_share),
    )
    if batch is not None:
        options.at_least("--batch", batch)
    fewest = serving.smallest(asked)
    devices = serving.check_devices(shape, n_gpus) if n_gpus is not None else fewest.devices if fewest else 1
    plan = replace(asked, devices=devices)
    fit = plan.requests
    running = min(fit, batch or fit)
    sections = [_memory(plan, running), _capacity(plan, fewest)]
    data = _data(subject, plan, fewest, batch)
    summary = [
        Row(Text("GPUs", "GPU 数"), devices, "GPUs"),
        Row(Text("requests that fit", "并发请求数"), fit, "requests"),
    ]
    if running:
        speed = _speed(plan, running)
        sections += [speed, _cost(plan, running, prices)]
        data |= _speed_data(plan, running, prices)
        summary += speed.rows
    return Sheet(
        subject,
        Text(f"Serving {subject} on {devices} × {gpu}", f"用 {devices} × {gpu} 部署 {subject}"),
        tuple(sections),
        data,
        summary=tuple(summary),
        verdicts=tuple(words.verdicts(plan, batch, fewest)),
        reasons=tuple(words.reasons(plan, running, fewest)),
        assumptions=tuple(words.assumptions(plan, prices, given=price is not None)),
    )


def _prices(gpu: str, price: float | Range | None) -> Range | None:
    if price is None:
        return serving.PRICE if gpu in serving.PRICED else None
    low, high = price if isinstance(price, tuple) else (price, price)
    if not isinstance(price, tuple):
        options.amount("--price", low, 1e6)
    return options.between("--price", (low, high))


def _memory(plan: Plan, running: int) -> Section:
    """What lies on one device."""
    weights, cache = plan.weights.n_bytes, running * plan.request_bytes()
    split = (
        f"{plan.weights.format} on {words.count(plan.devices, 'GPU')}, {plan.weights.bits_per_weight:.3f} bits a weight"
    )
    rows = [
        Row(Text("weights", "权重"), weights, "B", split),
        Row(Text(f"cache of {words.count(running, 'request')}", f"{running:,} 个请求的缓存"), cache, "B"),
        Row(Text("workspace, reserved", "预留工作区"), plan.workspace, "B"),
    ]
    usable = plan.gpu.memory * plan.memory_share
    free = usable - sum(row.value for row in rows)
    title = Text("memory of a GPU", "单卡显存")
    formula = f"{plan.memory_share:.0%} of {units.si(plan.gpu.memory, 'B')}"
    total = Row(Text("usable", "可用"), usable, "B", formula)
    if free < 0:
        return Section(title, (*rows, total))
    return Section(title, (*rows, Row(Text("free", "剩余"), free, "B")), total)


def _capacity(plan: Plan, fewest: Plan | None) -> Section:
    each, room = plan.request_bytes(), max(0.0, plan.room)
    rows = [
        Row(
            Text("cache of a request on a GPU, at full length", "每个请求在单卡上的缓存（满长度）"),
            each,
            "B",
            f"{plan.prompt_tokens:,} + {plan.new_tokens:,} tokens in {plan.kv_dtype}, see calc kv",
        ),
        Row(
            Text("requests that fit at once", "可同时容纳的请求数"),
            plan.requests,
            "requests",
            f"⌊{units.si(room, 'B')} / {units.si(each, 'B')}⌋",
        ),
    ]
    if fewest:
        label = Text("fewest GPUs for the weights and one request", "放下权重和一个请求所需的最少 GPU 数")
        rows.append(Row(label, fewest.devices, "GPUs"))
    return Section(Text("capacity", "容量"), tuple(rows))


def _time_row(label: Text, plan: Plan, work: Work) -> Row:
    best, worst = plan.seconds(work)
    kind, peak = plan.peak
    formula = (
        f"max({units.si(work.flops, 'FLOP')} / ({units.si(peak, 'FLOP/s')} {kind} × {_percents(plan.flops_share)}), "
        f"{units.si(work.weight_bytes + work.cache_bytes, 'B')} / "
        f"({units.si(plan.gpu.bandwidth, 'B/s')} × {_percents(plan.bandwidth_share)}))"
    )
    if work.sent_bytes and plan.gpu.link:
        formula += f" + {units.si(work.sent_bytes, 'B')} / {units.si(plan.gpu.link, 'B/s')}, on each GPU"
    return Row(label, best, "s", formula, worst)


def _percents(shares: Range) -> str:
    low, high = shares
    return f"{low:.0%}" if low == high else f"{low:.0%}–{high:.0%}"


def _speed(plan: Plan, running: int) -> Section:
    step = plan.decode(running)
    best, worst = plan.seconds(step)
    sustained = plan.rate(running)
    rows = (
        _time_row(Text("time to first token (TTFT)", "首 token 延迟（TTFT）"), plan, plan.prefill()),
        _time_row(Text("time per output token (TPOT)", "每输出 token 耗时（TPOT）"), plan, step),
        Row(Text("decoding, each request", "解码速度，每个请求"), 1 / worst, "tok/s", "1 / TPOT", 1 / best),
        Row(
            Text("decoding, all requests", "解码速度，全部请求"),
            running / worst,
            "tok/s",
            f"{running:,} / TPOT",
            running / best,
        ),
        Row(
            Text("sustained, prefill included", "持续吞吐，含 prefill"),
            sustained[1],
            "tok/s",
            "B · new / (B · seconds of a prompt + new · TPOT)",
            sustained[0],
        ),
    )
    return Section(Text(f"speed with {words.count(running, 'request')}", f"{running:,} 个并发请求时的速度"), rows)


def _hours(plan: Plan, running: int) -> tuple[Range, Range]:
    """GPU-hours of a million input tokens and of a million output tokens; best first."""
    prompts, steps = plan.prompt_seconds(running), plan.seconds(plan.decode(running))
    inputs = tuple(serving.gpu_hours(s, plan.devices, plan.prompt_tokens) for s in prompts)
    outputs = tuple(serving.gpu_hours(s, plan.devices, running) for s in steps)
    return (inputs[0], inputs[1]), (outputs[0], outputs[1])


def _cost(plan: Plan, running: int, prices: Range | None) -> Section:
    inputs, outputs = _hours(plan, running)
    rows = [
        Row(
            Text("GPU-hours, input", "GPU 小时，输入"),
            inputs[0],
            "",
            f"seconds of a prompt × {plan.devices} / {plan.prompt_tokens:,} tokens",
            inputs[1],
        ),
        Row(
            Text("GPU-hours, output", "GPU 小时，输出"),
            outputs[0],
            "",
            f"TPOT × {plan.devices} / {words.count(running, 'request')}",
            outputs[1],
        ),
    ]
    if prices:
        low, high = prices
        formula = f"GPU-hours × ${low:g}" + (f"–{high:g}" if high != low else "")
        rows += [
            Row(Text("cost, input", "成本，输入"), low * inputs[0], "USD", formula, high * inputs[1]),
            Row(Text("cost, output", "成本，输出"), low * outputs[0], "USD", formula, high * outputs[1]),
        ]
    return Section(Text("a million tokens", "每百万 token"), tuple(rows))


def _data(subject: str, plan: Plan, fewest: Plan | None, batch: int | None) -> dict[str, Any]:
    return {
        "model": subject,
        "gpu": plan.gpu.name,
        "gpus": plan.devices,
        "fewest_gpus": fewest.devices if fewest else None,
        "dtype": plan.dtype,
        "kv_dtype": plan.kv_dtype,
        "prompt_tokens": plan.prompt_tokens,
        "new_tokens": plan.new_tokens,
        "memory_bytes": round(plan.gpu.memory),
        "usable_bytes": round(plan.gpu.usable(plan.memory_share, plan.workspace)),
        "workspace_bytes": round(plan.workspace),
        "weights_bytes": round(quant.weigh(plan.shape, plan.dtype).n_bytes),
        "weights_bytes_per_gpu": round(plan.weights.n_bytes),
        "request_bytes_per_gpu": round(plan.request_bytes()),
        "room_bytes_per_gpu": round(plan.room),
        "requests_that_fit": plan.requests,
        "batch_asked": batch,
        "fits": plan.requests >= (batch or 1),
    }


def _speed_data(plan: Plan, running: int, prices: Range | None) -> dict[str, Any]:
    """Ranges are [low, high]."""
    prefill, step = plan.prefill(), plan.decode(running)
    first, each, rate = plan.seconds(prefill), plan.seconds(step), plan.rate(running)
    inputs, outputs = _hours(plan, running)
    found: dict[str, Any] = {
        "batch": running,
        "arithmetic": plan.peak[0],
        "time_to_first_token_s": list(first),
        "time_per_output_token_s": list(each),
        "request_tokens_per_s": [1 / each[1], 1 / each[0]],
        "decode_tokens_per_s": [running / each[1], running / each[0]],
        "sustained_tokens_per_s": [rate[1], rate[0]],
        "prefill_work_per_gpu": {name: round(n) for name, n in prefill._asdict().items()},
        "decode_work_per_gpu": {name: round(n) for name, n in step._asdict().items()},
        "gpu_hours_per_million_input_tokens": list(inputs),
        "gpu_hours_per_million_output_tokens": list(outputs),
    }
    if prices:
        found["usd_per_gpu_hour"] = list(prices)
        found["usd_per_million_input_tokens"] = [prices[0] * inputs[0], prices[1] * inputs[1]]
        found["usd_per_million_output_tokens"] = [prices[0] * outputs[0], prices[1] * outputs[1]]
    return found
