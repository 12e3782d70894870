"""`calc flops`: a token forward, a prompt, a decoding step, a training step."""

from typing import Any

from llmprep.calc import compute, options, params, units
from llmprep.calc.compute import Forward
from llmprep.calc.shapes import Attention, Experts, Latent, Shape
from llmprep.calc.sheets import Row, Section, Sheet
from llmprep.calc.sheets.params import NAMES
from llmprep.content import Text

ATTENTION = Text("attention itself (QKᵀ, sum over V)", "注意力本身（QKᵀ 与对 V 加权求和）")
STATE = Text("recurrences and short convolutions", "循环状态与短卷积")
HEAD = Text("output head", "输出头")


def sheet(shape: Shape, subject: str, *, seq_len: int | None = None, batch: int = 1) -> Sheet:
    """FLOPs at `seq_len` tokens a sequence, `batch` sequences; a multiplication and an addition are two."""
    tokens, batch = options.tokens("--seq-len", seq_len, shape), options.at_least("--batch", batch)
    seen, square = compute.forward(shape, tokens), compute.forward(shape, tokens, square=True)
    sections = [_token(shape, tokens, seen), _pass(tokens, batch, seen, square)]
    data: dict[str, Any] = {
        "model": subject,
        "seq_len": tokens,
        "batch": batch,
        "params_total": params.total(shape),
        "params_in_matmuls": params.in_matmuls(shape),
        "forward": _numbers(seen),
        "forward_square": _numbers(square),
        "forward_per_token": seen.total / tokens,
        "batch_forward": batch * seen.total,
    }
    per_token = Row(Text("forward, per token", "前向，每 token"), seen.total / tokens, "FLOP")
    summary = [per_token, Row(Text(f"prompt of {tokens:,} tokens", f"{tokens:,} token 的 prompt"), seen.total, "FLOP")]
    if shape.causal:
        step = compute.decode(shape, tokens)
        sections.append(_decode(shape, tokens, step))
        data["decode"] = _numbers(step)
        data["decode_decompression"] = compute.decompression_flops(shape, tokens)
        summary.append(Row(Text("decoding one token", "解码一个 token"), step.total, "FLOP"))
    training, rule = compute.training_step(shape, tokens), compute.training_flops(params.total(shape), tokens)
    sections.append(_training(shape, tokens, batch, training, rule))
    data["training"] = {
        "flops": training,
        "flops_causal": compute.training_step(shape, tokens, square=False),
        "flops_per_token": training / tokens,
        "six_n_d": rule,
        "six_n_d_error": rule / training - 1,
        "batch_flops": batch * training,
    }
    summary.append(Row(Text("training, per token", "训练，每 token"), training / tokens, "FLOP"))
    return Sheet(
        subject,
        Text(f"FLOPs of {subject}", f"{subject} 的 FLOPs"),
        tuple(sections),
        data,
        summary=tuple(summary),
        reasons=tuple(_reasons(shape, tokens, seen, rule / training)),
        assumptions=tuple(_assumptions(shape)),
    )


def _numbers(found: Forward) -> dict[str, int]:
    return {**found._asdict(), "total": found.total}


def _token(shape: Shape, tokens: int, seen: Forward) -> Section:
    """The mean token of a sequence: its matrices part by part, and its share of the attention."""
    parts: dict[str, int] = {}
    for _, runs, weight in shape.weights():
        if weight.kind == "matrix" and weight.part not in ("output head", "pooler"):
            parts[weight.part] = parts.get(weight.part, 0) + runs * weight.used * weight.size
    exact = not shape.encoder  # of an encoder-decoder the tokens pass different parts
    rows = [
        Row(Text(part, NAMES[part]), 2 * n, "FLOP", f"2 · N = 2 × {n:,}") for part, n in parts.items() if n and exact
    ]
    if not exact:
        rows = [Row(Text("matrices of the layers", "各层矩阵"), seen.linear / tokens, "FLOP")]
    mixer = next((s.layer.mixer for s in shape.stacks if isinstance(s.layer.mixer, Attention | Latent)), None)
    if mixer:
        pairs = f"{compute.pair_flops(mixer):,} FLOPs a query, key and layer"
        rows.append(Row(ATTENTION, seen.attention / tokens, "FLOP", f"{_pair_symbols(mixer)} = {pairs}"))
    if seen.state:
        rows.append(Row(STATE, seen.state / tokens, "FLOP"))
    for weight in shape.extra:
        if weight.part == "pooler" and weight.kind == "matrix":
            formula = f"2 × {weight.size:,} a sequence, / {tokens:,}"
            rows.append(Row(Text(weight.part, NAMES[weight.part]), 2 * weight.size / tokens, "FLOP", formula))
    if seen.head:
        head = params.head(shape)
        rows.append(Row(HEAD, 2 * head, "FLOP", f"2 · d · V = 2 × {head:,}"))
    total = Row(
        Text(f"forward, per token of {tokens:,}", f"前向，{tokens:,} token 中的每个"),
        seen.total / tokens,
        "FLOP",
        f"2 · N + attention = 2 × {params.in_matmuls(shape):,} + {units.si(seen.attention / tokens, 'FLOP')}",
    )
    return Section(Text("a token forward", "每 token 前向"), tuple(rows), total)


def _pair_symbols(mixer: Attention | Latent) -> str:
    if isinstance(mixer, Latent):
        return (
            f"2 · H · (D_nope + D_rope + D_v) = 2 × {mixer.n_heads} × ({mixer.nope_dim} + {mixer.rope_dim} + "
            f"{mixer.v_dim})"
        )
    return f"4 · H · D = 4 × {mixer.n_heads} × {mixer.head_dim}"


def _pass(tokens: int, batch: int, seen: Forward, square: Forward) -> Section:
    rows = [
        Row(
            Text("with the masked half skipped (FlashAttention)", "跳过被遮住的一半（FlashAttention）"),
            batch * seen.total,
            "FLOP",
            f"attention over T(T + 1)/2 pairs, fewer with windows: {units.si(batch * seen.attention, 'FLOP')}",
        ),
        Row(
            Text("with the full square (eager, PaLM's MFU)", "算满整个方阵（eager 实现、PaLM 的 MFU 口径）"),
            batch * square.total,
            "FLOP",
            f"attention over T² pairs: {units.si(batch * square.attention, 'FLOP')}",
        ),
    ]
    if seen.attention == square.attention:
        rows = [rows[1]._replace(label=Text("all tokens see all", "所有 token 互相可见"))]
    title = Text(f"prefill: {batch:,} × {tokens:,} tokens", f"预填充（prefill）：{batch:,} × {tokens:,} token")
    return Section(title, tuple(rows))


def _decode(shape: Shape, tokens: int, step: Forward) -> Section:
    rows = [
        Row(
            Text("weights", "权重"),
            step.linear + step.head,
            "FLOP",
            f"2 · N = 2 × {(step.linear + step.head) // 2:,}, whatever the context",
        ),
        Row(ATTENTION, step.attention, "FLOP", f"one query, {tokens:,} keys a layer (fewer in a window)"),
    ]
    latent = next((s.layer.mixer for s in shape.stacks if isinstance(s.layer.mixer, Latent)), None)
    if latent:
        symbols = f"2 · H · (2 · r_kv + D_rope) = 2 × {latent.n_heads} × (2 × {latent.kv_rank} + {latent.rope_dim})"
        rows[1] = rows[1]._replace(
            label=Text("attention itself, MLA absorbed", "注意力本身，MLA 吸收形式（absorbed）"),
            formula=f"{symbols} a key and layer",
        )
    if step.state:
        rows.append(Row(STATE, step.state, "FLOP"))
    total = Row(Text("one token", "一个 token"), step.total, "FLOP")
    detail: tuple[Row, ...] = ()
    if latent:
        extra = compute.decompression_flops(shape, tokens)
        formula = "2 · T · r_kv · H · (D_nope + D_v) a layer"
        label = Text("more, if keys and values are spelt out again each step", "若每步都重新还原 K、V，还要多出")
        detail = (Row(label, extra, "FLOP", formula),)
    title = Text(f"decode: one token at a context of {tokens:,}", f"解码（decode）：上下文 {tokens:,} 时的一个 token")
    return Section(title, tuple(rows), total, detail)


def _training(shape: Shape, tokens: int, batch: int, training: int, rule: float) -> Section:
    n = params.in_matmuls(shape)
    rows = (
        Row(Text("forward", "前向"), training / 3 / tokens, "FLOP", f"2N + attention, N = {n:,} in matrix products"),
        Row(Text("backward", "反向"), 2 * training / 3 / tokens, "FLOP", "4N + 2 × attention: for inputs and weights"),
    )
    total = Row(Text("training, per token", "训练，每 token"), training / tokens, "FLOP", "6N + 12·L·H·D·T (PaLM)")
    detail = (
        Row(
            Text(f"a step on {batch:,} × {tokens:,} tokens", f"一步（{batch:,} × {tokens:,} token）"),
            batch * training,
            "FLOP",
        ),
        Row(
            Text("6ND with all parameters, per token", "6ND（取总参数量），每 token"),
            rule / tokens,
            "FLOP",
            f"6 × {params.total(shape):,}: {rule / training:.3g} of the count above",
        ),
    )
    return Section(Text("training, full square", "训练，按整个方阵计"), rows, total, detail)


def _reasons(shape: Shape, tokens: int, seen: Forward, rule: float) -> list[Text]:
    n, total = params.in_matmuls(shape), params.total(shape)
    sparse = any(isinstance(stack.layer.ffn, Experts) for stack in shape.stacks)
    shared = any(stack.shared for stack in shape.stacks)  # weights that run several times: the rule is not for them
    found = [] if shared or not seen.attention else [_rule_of_thumb(tokens, units.short(total), rule, sparse=sparse)]
    if sparse:
        found.append(
            Text(
                f"A token is multiplied with {units.short(n)} of {units.short(total)} parameters: only chosen experts "
                f"cost FLOPs, all of them cost memory.",
                f"每个 token 只与 {units.short(total)} 参数中的 {units.short(n)} 相乘：被选中的专家才耗算力，"
                f"但全部专家都占显存。",
            )
        )
    grouped = next((s.layer.mixer for s in shape.stacks if isinstance(s.layer.mixer, Attention)), None)
    if grouped and grouped.n_kv_heads < grouped.n_heads:
        found.append(
            Text(
                "GQA shrinks the cache and W_k, W_v, but not QKᵀ: every query head still meets every key.",
                "GQA 减小的是缓存和 W_k、W_v，QKᵀ 的计算量不变：每个 query 头仍要与每个 key 相乘。",
            )
        )
    if seen.attention:
        share = seen.attention / seen.total
        found.append(
            Text(
                f"Attention itself is {share:.0%} of the forward pass at {tokens:,} tokens and grows with T², the rest "
                f"with T.",
                f"{tokens:,} token 时注意力本身占前向的 {share:.0%}，它按 T² 增长，其余按 T 增长。",
            )
        )
    return found


def _rule_of_thumb(tokens: int, total: str, rule: float, *, sparse: bool) -> Text:
    """How far 6ND with all parameters is off, and why."""
    if rule >= 2 and sparse:
        return Text(
            f"6ND with all {total} parameters is {rule:.1f}× too high at {tokens:,} tokens: it counts every expert, "
            f"though a token passes only a few.",
            f"在 {tokens:,} token 时，6ND（取全部 {total} 参数）是实际的 {rule:.1f} 倍：它把所有专家都算上了，"
            f"而每个 token 只经过少数几个。",
        )
    size = f"{abs(rule - 1):.1%}"
    if rule > 1:
        return Text(
            f"6ND with all {total} parameters is {size} too high at {tokens:,} tokens: it counts look-up tables as "
            f"work, more than the attention that it leaves out.",
            f"在 {tokens:,} token 时，6ND（取全部 {total} 参数）偏高 {size}：它把查表也当成计算，多于它没算的注意力。",
        )
    return Text(
        f"6ND with all {total} parameters is {size} too low at {tokens:,} tokens: it leaves out attention, "
        f"which is more than the look-up tables that it counts as work.",
        f"在 {tokens:,} token 时，6ND（取全部 {total} 参数）偏低 {size}：它没算注意力，而多算的查表抵不过。",
    )


def _assumptions(shape: Shape) -> list[Text]:
    found = [
        Text(
            "A multiplication and an addition are 2 FLOPs; norms, activations, softmax and RoPE are left out.",
            "一次乘加计 2 FLOPs；归一化、激活函数、softmax、RoPE 不计。",
        ),
        Text("Training without recomputation of activations.", "训练不含激活重计算。"),
    ]
    if shape.head:
        found.append(
            Text(
                "Every token of a prompt gets logits; engines compute those of the last token only.",
                "prompt 的每个 token 都算 logits；推理引擎只算最后一个。",
            )
        )
    if shape.encoder:
        found.append(Text("The encoder reads as many tokens as the decoder.", "编码器与解码器的 token 数相同。"))
    if compute.forward(shape, 1).state:
        found.append(
            Text(
                "Recurrences are counted step by step, number by number; chunked kernels do more.",
                "循环状态按逐步、逐元素计；分块（chunked）内核的计算量更大。",
            )
        )
    return found
