"""`calc kv`: the KV cache, per token and per request, and what wrong counts would give."""

from typing import Any

from llmprep.calc import kv, options, units
from llmprep.calc.shapes import Attention, Latent, Mixer, Shape
from llmprep.calc.sheets import Row, Section, Sheet
from llmprep.content import Text

KINDS = {
    "full": Text("full attention", "全注意力"),
    "window": Text("sliding window", "滑动窗口"),
    "latent": Text("latent (MLA)", "潜变量（MLA）"),
    "cross": Text("cross-attention", "交叉注意力"),
    "state": Text("state", "循环状态"),
}
SHOWN = ("bf16", "fp8", "int8", "int4")


def sheet(shape: Shape, subject: str, *, seq_len: int | None = None, batch: int = 1, kv_dtype: str = "bf16") -> Sheet:
    """Bytes of a token, of a request of `seq_len` tokens, of `batch` requests; against MHA with the same heads."""
    fmt = kv.find(kv_dtype)
    tokens, batch = options.tokens("--seq-len", seq_len, shape), options.at_least("--batch", batch)
    title = Text(f"KV cache of {subject}", f"{subject} 的 KV Cache")
    if not shape.causal:
        return _encoder(subject, title, shape, tokens, batch, fmt.name)
    parts = kv.layers(shape)
    request, per_token = kv.request_bytes(shape, tokens, fmt.name), kv.per_token(shape, fmt.name)
    mha = kv.mha_bytes(shape, tokens, fmt.name)
    each = tuple(_token_row(part, fmt) for part in parts if part.per_token and part.kind != "cross")
    held = tuple(_held_row(part, tokens, fmt) for part in parts)
    of_token = Row(Text("per token, all layers", "每 token，所有层"), per_token, "B")
    of_request = Row(Text(f"per request of {tokens:,} tokens", f"每个请求（{tokens:,} token）"), request, "B")
    of_batch = Row(
        Text(f"all requests ({batch:,})", f"全部请求（{batch:,} 个）"),
        batch * request,
        "B",
        f"{batch:,} × {units.si(request, 'B')}",
    )
    formats = tuple(
        Row(Text(name, name), kv.request_bytes(shape, tokens, name), "B", _overhead(name)) for name in SHOWN
    )
    sections = [
        Section(
            Text(f"a token ({fmt.name})", f"每 token（{fmt.name}）"), each or (of_token,), of_token if each else None
        ),
        Section(Text("a request", "每个请求"), held, of_request),
        Section(Text("the same request in other formats", "同一请求换用其他格式"), formats),
        Section(Text("against multi-head attention", "与 MHA 相比"), _against(request, mha)),
    ]
    if batch > 1:
        sections.insert(2, Section(Text("the batch", "整个 batch"), (of_batch,)))
    data: dict[str, Any] = {
        "model": subject,
        "attention": kv.name(shape),
        "seq_len": tokens,
        "batch": batch,
        "kv_dtype": fmt.name,
        "bytes_per_token": round(per_token),
        "bytes_of_next_token": round(kv.growth(shape, tokens, fmt.name)),
        "request_bytes": round(request),
        "batch_bytes": round(batch * request),
        "mha_request_bytes": round(mha),
        "mha_ratio": mha / request,
        "layers": [
            {
                "kind": part.kind,
                "layers": part.n,
                "elements_per_token": part.per_token,
                "window": part.window,
                "tokens_held": part.tokens(tokens) if part.per_token else None,
                "state_elements": part.recurrent + part.convolution,
                "bytes": round(part.n_bytes(tokens, fmt)),
            }
            for part in parts
        ],
        "formats": {name: round(kv.request_bytes(shape, tokens, name)) for name in kv.FORMATS},
    }
    elements = Row(Text("elements per token", "每 token 元素数"), _elements(parts), "")
    return Sheet(
        subject,
        title,
        tuple(sections),
        data,
        summary=(
            of_token._replace(label=Text("per token", "每 token")),
            elements,
            of_request,
            *((of_batch,) if batch > 1 else ()),
        ),
        reasons=tuple(_reasons(shape, parts, tokens, fmt)),
        assumptions=tuple(_assumptions(shape, parts, fmt)),
    )


def _encoder(subject: str, title: Text, shape: Shape, tokens: int, batch: int, fmt: str) -> Sheet:
    nothing = Row(Text("cache", "缓存"), 0, "B")
    why = Text(
        f"An encoder ({shape.family}) reads all tokens in one pass and generates none: it keeps no cache.",
        f"编码器（{shape.family}）一次读完所有 token，不做自回归生成，没有 KV Cache。",
    )
    data = {"model": subject, "attention": "none", "seq_len": tokens, "batch": batch, "kv_dtype": fmt}
    data |= {"bytes_per_token": 0, "request_bytes": 0, "batch_bytes": 0}
    return Sheet(subject, title, (Section(Text("a token", "每 token"), (nothing,)),), data, (nothing,), reasons=(why,))


def _elements(parts: list[kv.Layers]) -> int:
    return sum(part.n * part.per_token for part in parts if part.kind != "cross")


def _label(part: kv.Layers) -> Text:
    kind, mixer = KINDS[part.kind], part.mixer
    en, zh = f"{part.n} × {kind.en}", f"{part.n} 层{kind.zh}"
    if isinstance(mixer, Attention):
        heads, window = f"{mixer.n_kv_heads} of {mixer.n_heads} heads", f"{part.window or 0:,} token"
        en, zh = f"{en}, {heads}", f"{zh}，{mixer.n_kv_heads}/{mixer.n_heads} 头"
        return Text(f"{en}, {window}s", f"{zh}，{window}") if part.window else Text(en, zh)
    return Text(en, zh)


def _token_row(part: kv.Layers, fmt: kv.CacheFormat) -> Row:
    each = fmt.bytes_of(part.per_token, part.vector)
    if isinstance(part.mixer, Latent):
        symbols, numbers = "(r_kv + D_rope)", f"({part.mixer.kv_rank} + {part.mixer.rope_dim})"
    else:
        symbols, numbers = "2 (K, V) · H_kv · D", f"2 × {part.per_token // 2 // part.vector} × {part.vector}"
    formula = f"L · {symbols} · {_bits(part, fmt)} = {part.n} × {numbers} × {units.digits(8 * each / part.per_token)}/8"
    return Row(_label(part), part.n * each, "B", formula)


def _bits(part: kv.Layers, fmt: kv.CacheFormat) -> str:
    extra = 8 * fmt.bytes_of(part.per_token, part.vector) / part.per_token - fmt.bits
    return f"({fmt.bits} + {units.digits(extra)}) bits/8" if extra else f"{fmt.bits} bits/8"


def _held_row(part: kv.Layers, tokens: int, fmt: kv.CacheFormat) -> Row:
    total = part.n_bytes(tokens, fmt)
    if part.kind == "state":
        formula = (
            f"L · (state · {kv.STATE_BYTES} B + convolution · {kv.CONV_BYTES} B) = {part.n} × "
            f"({part.recurrent:,} × {kv.STATE_BYTES} + {part.convolution:,} × {kv.CONV_BYTES})"
        )
        return Row(_label(part), total, "B", formula)
    each = fmt.bytes_of(part.per_token, part.vector)
    count = f"min({tokens:,}, {part.window:,})" if part.window else f"{tokens:,}"
    return Row(_label(part), total, "B", f"{part.n} layers × {units.digits(each)} B × {count} tokens")


def _overhead(name: str) -> str:
    fmt = kv.FORMATS[name]
    if not fmt.group_bits:
        return f"{fmt.bits} bits"
    return f"{fmt.bits} bits + {fmt.group_bits} bits for each {fmt.group or 'key or value of a head'}"


def _against(request: float, mha: float) -> tuple[Row, ...]:
    return (
        Row(
            Text("a key and a value for every query head, no windows", "每个 query 头各存一份 K、V，且不设窗口"),
            mha,
            "B",
        ),
        Row(Text("times as much", "倍数"), mha / request, "×", f"{units.si(mha, 'B')} / {units.si(request, 'B')}"),
    )


def _reasons(shape: Shape, parts: list[kv.Layers], tokens: int, fmt: kv.CacheFormat) -> list[Text]:
    """The slips that people and public calculators make, where this model invites them."""
    found = []
    request = kv.request_bytes(shape, tokens, fmt.name)
    grouped = [p for p in parts if isinstance(p.mixer, Attention) and p.kind != "cross"]
    latent = next((p.mixer for p in parts if isinstance(p.mixer, Latent)), None)
    if grouped:
        attention = sum(part.n_bytes(tokens, fmt) for part in grouped)
        found.append(
            Text(
                f"K and V are two tensors: without the factor 2 the attention layers would seem to take "
                f"{units.si(attention / 2, 'B')}, half of what they do.",
                f"K 和 V 是两个张量，公式里的 2 不能漏：漏掉就只剩 {units.si(attention / 2, 'B')}，少了一半。",
            )
        )
        found += _grouping(grouped[0].mixer)
    windows = [p for p in parts if p.window and p.window < tokens]
    if windows:
        everything = sum(p._replace(window=None).n_bytes(tokens, fmt) for p in parts)
        n, layers = sum(p.n for p in windows), sum(p.n for p in parts if p.kind != "cross")
        found.append(
            Text(
                f"{n} of {layers} layers keep at most {windows[0].window:,} tokens: an engine (or a calculator) that "
                f"ignores the window takes {units.si(everything, 'B')}.",
                f"{layers} 层里有 {n} 层最多保留 {windows[0].window:,} 个 token：引擎（或计算器）若不管窗口，"
                f"就要 {units.si(everything, 'B')}。",
            )
        )
    if latent:
        found += _latent_reasons(shape, latent)
    if any(p.kind == "state" for p in parts):
        found.append(
            Text(
                "Layers with a state take the same bytes whatever the length; only attention layers grow.",
                "带循环状态的层占用恒定，与长度无关；只有注意力层的缓存会增长。",
            )
        )
    if request >= 1e9:
        found.append(
            Text(
                f"{units.si(request, 'B')} are {units.binary(request)}: a GB is 10⁹ bytes, a GiB 2³⁰. Say which.",
                f"{units.si(request, 'B')} 即 {units.binary(request)}：GB 是 10⁹ 字节，GiB 是 2³⁰ 字节，要说清。",
            )
        )
    return found


def _grouping(mixer: Mixer) -> list[Text]:
    if not isinstance(mixer, Attention) or mixer.n_kv_heads == mixer.n_heads:
        return []
    heads, groups = mixer.n_heads, mixer.n_kv_heads
    return [
        Text(
            f"Only {groups} of {heads} heads are cached: counting the query heads, as for MHA, gives "
            f"{heads // groups}× too much.",
            f"{heads} 个 query 头只缓存 {groups} 个 KV 头：按 MHA 算会得到 {heads // groups} 倍的结果。",
        )
    ]


def _latent_reasons(shape: Shape, mixer: Latent) -> list[Text]:
    width = shape.d_model // mixer.n_heads
    times = 2 * mixer.n_heads * width / (mixer.kv_rank + mixer.rope_dim)
    found = [
        Text(
            f"MLA caches one latent of {mixer.kv_rank} and one rotated key of {mixer.rope_dim} for all "
            f"{mixer.n_heads} heads. Counted as MHA from hidden_size and num_attention_heads (2 × {mixer.n_heads} × "
            f"{width} a layer) it would be {times:.1f}× too much; public calculators do that.",
            f"MLA 每层只缓存一个 {mixer.kv_rank} 维的潜变量和一个 {mixer.rope_dim} 维的 RoPE key，"
            f"供全部 {mixer.n_heads} 个头共用。若按 hidden_size 和 num_attention_heads 当 MHA 算"
            f"（每层 2 × {mixer.n_heads} × {width}），结果是实际的 {times:.1f} 倍，公开的计算器就这么错。",
        ),
        Text(
            "Under tensor parallelism the latent cannot be split by heads: every GPU holds all of it.",
            "张量并行时潜变量无法按头切分：每张卡都要存一份完整的。",
        ),
    ]
    if shape.family.startswith("deepseek"):
        found.append(
            Text(
                "The 93.3% less cache of the DeepSeek-V2 paper compares a 6-bit latent with the 16-bit GQA cache of "
                "DeepSeek 67B; at 16 bits each it is 82.2%.",
                "DeepSeek-V2 论文里“KV Cache 减少 93.3%”是拿 6 bit 的潜变量与 DeepSeek 67B 的 16 bit GQA 缓存相比；"
                "同为 16 bit 时是 82.2%。",
            )
        )
    return found


def _assumptions(shape: Shape, parts: list[kv.Layers], fmt: kv.CacheFormat) -> list[Text]:
    found = []
    if any(p.window for p in parts):
        found.append(
            Text(
                "The engine drops tokens that left the window; transformers' DynamicCache keeps one fewer than the "
                "window between steps.",
                "假设引擎会丢弃窗口以外的 token；transformers 的 DynamicCache 在两步之间保留“窗口 − 1”个。",
            )
        )
    if any(p.kind == "state" for p in parts):
        found.append(
            Text(
                f"Recurrent states in FP32 ({kv.STATE_BYTES} B), inputs of short convolutions in 16 bits, as "
                f"transformers keeps them.",
                f"循环状态按 FP32（{kv.STATE_BYTES} 字节）、短卷积的输入按 16 bit 计，与 transformers 一致。",
            )
        )
    if shape.encoder:
        found.append(
            Text(
                "Cross-attention caches as many encoder tokens as the decoder has.",
                "交叉注意力缓存的编码器 token 数按与解码器相同计。",
            )
        )
    notes = {
        "fp8": Text("FP8 with one scale a layer: no overhead.", "FP8 每层一个 scale，无额外开销。"),
        "int8": Text(
            "INT8 with an FP16 scale for each head's key and value.", "INT8：每个头的 K、V 各带一个 FP16 scale。"
        ),
        "int4": Text(
            "INT4 with an FP16 scale and zero point for each 64 numbers of a head.",
            "INT4：每 64 个数带一个 FP16 scale 和一个 FP16 zero point。",
        ),
        "int6": Text("6 bits a number on average, scales included.", "平均每个数 6 bit，已含 scale。"),
    }
    if fmt.name in notes:
        found.append(notes[fmt.name])
    found.append(
        Text(
            "No waste of blocks: a paged cache rounds a request up to whole blocks (16 tokens in vLLM).",
            "不计分页浪费：PagedAttention 会把请求向上取整到整块（vLLM 为 16 个 token）。",
        )
    )
    return found
