"""`calc params`: the bill of parameters."""

from llmprep.calc import params
from llmprep.calc.shapes import PARTS, Shape, Weight
from llmprep.calc.sheets import Row, Section, Sheet
from llmprep.content import Text

NAMES = dict(
    zip(
        PARTS,
        (
            "词嵌入",
            "位置嵌入",
            "注意力",
            "交叉注意力",
            "状态空间",
            "线性注意力",
            "前馈层",
            "专家",
            "共享专家",
            "路由器",
            "归一化",
            "池化层",
            "输出头",
        ),
        strict=True,
    )
)
CONVENTIONS = {
    "with_embeddings": Text("active, with embeddings", "激活参数，含嵌入"),
    "without_input_embedding": Text("active, without the input embedding", "激活参数，不含输入嵌入"),
    "without_embedding_and_head": Text("active, without embeddings and head", "激活参数，不含嵌入和输出头"),
}


def sheet(shape: Shape, subject: str) -> Sheet:
    """Every part with its share, the total, and for a mixture of experts the active parameters."""
    bill, total, active = params.terms(shape), params.total(shape), params.active(shape)
    rows = tuple(Row(Text(part, NAMES[part]), n, "params") for part, n in bill.items())
    whole = Row(Text("total", "合计"), total, "params")
    used = tuple(Row(CONVENTIONS[name], n, "params") for name, n in active._asdict().items())
    sparse = active.with_embeddings != total
    sections = [Section(Text("parameters", "参数"), rows, whole, _detail(shape))]
    if sparse:
        sections.append(Section(Text("a token passes through", "每个 token 经过"), used))
    data = {
        "model": subject,
        "family": shape.family,
        "total": total,
        "terms": bill,
        "active": active._asdict(),
        "tied": shape.tied,
        "layers": shape.n_layers,
    }
    if shape.note.en:
        data["note"] = shape.note.en
    return Sheet(
        subject,
        Text(f"Parameters of {subject}", f"{subject} 的参数量"),
        tuple(sections),
        data,
        summary=(whole, *rows, *used),
        assumptions=(shape.note,) if shape.note.en else (),
    )


def _detail(shape: Shape) -> tuple[Row, ...]:
    """Every kind of tensor: its widths in symbols and numbers, and how many there are."""
    found: dict[tuple[str, str, str, tuple[int, ...]], int] = {}
    for stored, _, weight in shape.weights():
        key = (weight.part, weight.name, weight.symbols, weight.shape)
        found[key] = found.get(key, 0) + stored * weight.copies
    rows = []
    for (part, name, symbols, widths), n in sorted(found.items(), key=lambda item: PARTS.index(item[0][0])):
        size = Weight(part, name, symbols, widths).size
        numbers = " × ".join(f"{width:,}" for width in widths)
        formula = f"{symbols} = {numbers}" if n == 1 else f"{n:,} × ({symbols}) = {n:,} × {numbers}"
        rows.append(Row(Text(f"{part}: {name}", f"{NAMES[part]}：{name}"), n * size, "params", formula))
    return tuple(rows)
