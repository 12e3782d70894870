"""What `calc train` says of activations: by policy, tensor by tensor, and as others count them."""

from llmprep.calc import activations, memory
from llmprep.calc.run import Run
from llmprep.calc.shapes import Attention
from llmprep.calc.sheets import Row, Section
from llmprep.content import Text

POLICIES = {
    "none": Text("nothing recomputed: scores kept", "不重计算：保留注意力分数"),
    "selective": Text("selective, or FlashAttention", "选择性重计算/FlashAttention"),
    "full": Text("full: layer inputs only", "完全重计算：只留每层输入"),
}
ZH = {  # names of activations.Saved
    "norm inputs": "归一化的输入",
    "norms": "归一化的 1/σ",
    "input of both branches": "两个分支的输入",
    "input of attention": "注意力的输入",
    "input of cross-attention": "交叉注意力的输入",
    "input of state space": "状态空间层的输入",
    "input of linear attention": "线性注意力的输入",
    "input of feed-forward": "前馈层的输入",
    "log-sum-exp": "log-sum-exp",
    "softmax output": "softmax 输出",
    "Q before its norm": "归一化前的 Q",
    "K before its norm": "归一化前的 K",
    "QK norms": "QK 归一化的 1/σ",
    "Q": "Q",
    "K, V": "K、V",
    "Q, K": "Q、K",
    "V": "V",
    "output": "注意力输出",
    "gate, output before it": "门控及门控前的输出",
    "query latent, before its norm": "归一化前的 query 隐向量",
    "query latent": "query 隐向量",
    "norm of the query latent": "query 隐向量归一化的 1/σ",
    "KV latent, before its norm": "归一化前的 KV 隐向量",
    "KV latent": "KV 隐向量",
    "norm of the KV latent": "KV 隐向量归一化的 1/σ",
    "q, k, v before the convolution": "卷积前的 q、k、v",
    "q, k, v of every value head": "每个 value 头的 q、k、v",
    "inverses in chunks of 64": "每 64 个 token 一块的逆矩阵",
    "decay, beta": "衰减与 beta",
    "z, output before and after its norm": "z、归一化前后的输出",
    "z, x, B, C, dt": "z、x、B、C、dt",
    "output before its norm": "归一化前的输出",
    "states between chunks of 2,048": "每 2,048 个 token 之间的状态",
    "x, z and output": "x、z 和输出",
    "dt, B, C": "dt、B、C",
    "router's probabilities": "路由概率",
    "tokens as sent to the experts": "分发给专家的 token",
    "feed-forward: gate and up": "前馈层 gate 和 up",
    "feed-forward: input of W_down": "W_down 的输入",
    "feed-forward: input of the activation": "激活函数的输入",
    "experts: gate and up": "专家 gate 和 up",
    "experts: input of W_down": "专家 W_down 的输入",
    "experts: input of the activation": "专家激活函数的输入",
    "shared expert: gate and up": "共享专家 gate 和 up",
    "shared expert: input of W_down": "共享专家 W_down 的输入",
    "A·x": "适配器的 A·x",
}


def kept(run: Run) -> Section:
    """Activations of one sequence, all layers, undivided."""
    job, shape = run.job, run.job.shape
    tokens = f"{job.seq_len:,} tokens × {shape.n_layers} layers"
    rows = [
        Row(
            POLICIES[policy],
            held.activations,
            "B",
            f"{tokens} × {held.activations / job.seq_len / shape.n_layers:,.0f} B",
        )
        for policy, held in run.whole.items()
    ]
    logits = run.whole["none"].head
    if logits:
        formula = f"{job.seq_len:,} × (V {shape.vocab_size:,} × {4 + 2 * (job.recipe.itemsize == 2)} B + norms)"
        rows.append(
            Row(
                Text("last norm and logits", "末层归一化与 logits"),
                logits,
                "B",
                formula,
            )
        )
    title = Text(
        f"activations of one sequence of {job.seq_len:,} tokens, all layers",
        f"一条 {job.seq_len:,} token 序列的激活值（全部层）",
    )
    return Section(title, tuple(rows), detail=(*_tensors(run), *_other_counts(run)))


def _tensors(run: Run) -> list[Row]:
    """Every tensor that a layer keeps, per token: of the kind of layer there is most of."""
    job = run.job
    stack = max(job.shape.stacks, key=lambda stack: stack.n)
    saved = activations.of_layer(
        job.shape, stack.layer, job.seq_len, itemsize=job.recipe.itemsize, scores=True, adapters=job.adapters
    )
    whole = Text("a token in one layer, nothing recomputed", "每 token 每层，不重计算")
    return [
        Row(whole, sum(each.per_token for each in saved), "B", "the sum of"),
        *(
            Row(
                Text(f"· {each.name}", f"· {ZH.get(each.name, each.name)}"),
                each.per_token,
                "B",
                f"{each.itemsize:g} B × {each.symbols} = {each.itemsize:g} × {each.width:,.0f}",
            )
            for each in saved
        ),
    ]


def _other_counts(run: Run) -> list[Row]:
    """The textbook's GPT layer, and transformers without fused kernels."""
    job, shape, rows = run.job, run.job.shape, []
    first = shape.stacks[0].layer
    if isinstance(first.mixer, Attention) and job.recipe.itemsize == 2 and not job.adapters:
        a, s, h = first.mixer.n_heads, job.seq_len, shape.d_model
        policies: tuple[tuple[memory.Recompute, str], ...] = (
            ("none", "34 + 5as/h"),
            ("selective", "34"),
            ("full", "2"),
        )
        for policy, symbols in policies:
            layer = memory.activation_bytes_per_layer(s, 1, h, a, policy)
            label = Text(f"a GPT with dropout, {policy}", f"带 dropout 的 GPT，{policy}")
            numbers = f"L·s·h·({symbols}) = {shape.n_layers} × {s:,} × {h:,} × {layer / s / h:g}"
            rows.append(Row(label, shape.n_layers * layer, "B", numbers))
    if shape.family in activations.AS_MEASURED:
        for scores, attention in ((True, "eager"), (False, "sdpa")):
            extra = sum(
                stack.n
                * job.seq_len
                * activations.unfused(
                    shape,
                    stack.layer,
                    job.seq_len,
                    itemsize=job.recipe.itemsize,
                    scores=scores,
                    frozen=job.adapters is not None,
                )
                for stack in shape.stacks
            )
            held = run.whole["none" if scores else "selective"].activations + extra
            label = Text(f"transformers, {attention}", f"transformers，{attention}")
            rows.append(Row(label, held, "B", "unfused: RMSNorm in FP32, SiLU's output kept"))
    return rows
