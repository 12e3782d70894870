"""docs/train-13b.md says what `llmprep calc train` prints, number by number."""

import re
from pathlib import Path

import pytest

from llmprep.calc import families, memory, units
from llmprep.calc.sheets import train

PAGE = (Path(__file__).parents[2] / "docs" / "train-13b.md").read_text(encoding="utf-8")
DAY = 86_400
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e\d+)?")


def answer(**options):
    return train.sheet(families.of("llama-13b"), "llama-13b", **{"tokens": 260e9, "mfu": 0.45, **options})


EIGHT, MANY = (answer(gpus=n).data for n in (8, 64))
PUBLISHED, RANGE = answer(gpus=64, tokens=1e12, mfu=0.514).data, answer(gpus=64, tokens=1e12, mfu=None).data
SHAPE = families.of("llama-13b")


def gb(value):
    return units.si(value, "B")


def plain(value):
    return units.digits(value / 1e9)


def span(low_high, scale=1.0):
    return "–".join(units.digits(each / scale) for each in low_high)


def table(column, data, bold):
    rows = []
    for stage in data["by_zero_stage"]:
        cell = gb(stage[column])
        rows.append(f"**{cell}**" if stage["zero"] == bold else cell)
    return rows


def said():
    """Every sentence of the page that holds numbers, made from the sheets."""
    d, ff = SHAPE.d_model, SHAPE.feed_forward.d_ff
    kept, states = EIGHT["activations_of_a_sequence"], EIGHT["states"]
    gpt = [memory.activation_bytes_per_layer(2048, 1, d, 40, policy) * 40 for policy in ("none", "selective", "full")]
    lay, lay64 = EIGHT["layout"], MANY["layout"]
    yield f"N = {EIGHT['params']:,}"
    yield (
        f"{plain(states['weights'])} + {plain(states['gradients'])} + {plain(states['optimizer'])} = "
        f"**{gb(EIGHT['states_bytes'])}**: three cards"
    )
    assert EIGHT["fewest_gpus_for_states"] == 3
    yield f"it is 18 B and {gb(18 * EIGHT['params'])}"
    formulas = ("0 | 16", "1: optimiser | 4 + 12/n", "2: gradients too | 2 + 14/n", "3: weights too, as FSDP | 16/n")
    cells = zip(formulas, table("states_bytes", EIGHT, 3), table("states_bytes", MANY, None), (2, 2, 2, 3), strict=True)
    yield from (f"| {formula} | {eight} | {many} | {passes} |" for formula, eight, many, passes in cells)
    yield f"2 B × (8 × {d:,} + 3 × {ff:,}) = {2 * (8 * d + 3 * ff):,} B a token"
    per_token = kept["selective"] / 2048 / 40
    yield f"{per_token - 2 * (8 * d + 3 * ff):.0f} B of statistics"
    yield f"Times {EIGHT['seq_len']:,} tokens and {SHAPE.n_layers} layers"
    yield f"| attention scores kept | {gb(kept['none'])} |"
    yield f"| selective recomputation, or FlashAttention, which keeps the same | **{gb(kept['selective'])}** |"
    yield f"| full recomputation | {gb(kept['full'])}, and one layer at a time |"
    yield f"with the last norm | {gb(EIGHT['logits_of_a_sequence'])} |"
    yield f"gives {plain(gpt[0])}, {plain(gpt[1])} and {gpt[2] / 1e9:.3f} GB"
    yield f"1 GB for the CUDA context: {gb(EIGHT['usable_bytes'])}"
    marks = [["✓" if stage["fits"] else "✗" for stage in data["by_zero_stage"]] for data in (EIGHT, MANY)]
    totals = table("total_bytes", EIGHT, None), table("total_bytes", MANY, 1)
    for stage in range(4):
        yield f"| {stage} | {totals[0][stage]} {marks[0][stage]} | {totals[1][stage]} {marks[1][stage]} |"
    assert (lay["zero"], lay["micro_batch"], lay64["zero"], lay64["micro_batch"]) == (3, 2, 1, 1)
    assert all(data["layout"]["recompute"] == "selective" for data in (EIGHT, MANY))
    assert all(data["layout"][k] == 1 for data in (EIGHT, MANY) for k in ("tensor_parallel", "pipeline_parallel"))
    yield f"it leaves room for two sequences: {gb(EIGHT['per_gpu']['total'])}."
    yield f"The fewest cards that do are {EIGHT['fewest_gpus']}."
    sequences = lay["global_batch_tokens"] // EIGHT["seq_len"]
    yield f"{lay['global_batch_tokens']:,} tokens a step, as LLaMA had: {sequences:,} sequences"
    yield f"8 cards × micro-batch {lay['micro_batch']} × {lay['accumulation']} accumulations"
    yield f"or 64 × {lay64['micro_batch']} × {lay64['accumulation']}."
    yield f"6 × {MANY['params']:,} × 260e9 = {units.si(MANY['flops_6nd'], 'FLOP')}"
    yield f"{units.si(MANY['flops'], 'FLOP')} with attention"
    yield f"**{units.digits(MANY['seconds_6nd'][0] / DAY)} days** by 6ND"
    yield f"**{units.digits(MANY['seconds'][0] / DAY)} days** with attention"
    yield f"an MFU of 35–50% gives {span(answer(gpus=64, mfu=None).data['seconds'], DAY)} days"
    yield f"8 cards take {units.digits(EIGHT['seconds'][0] / DAY)} days"
    hours, (low, high) = MANY["gpu_hours"][0], MANY["cost_usd"]
    days = units.digits(MANY["seconds"][0] / DAY)
    yield f"{days} days × 64 cards are {hours:,.0f} GPU-hours: ${low:,.0f}–${high:,.0f}"
    yield f"at an assumed ${MANY['price_usd_per_gpu_hour'][0]:g}–{MANY['price_usd_per_gpu_hour'][1]:g} an hour"
    yield f"that returns {PUBLISHED['gpu_hours_6nd'][0]:,.0f} hours"
    yield f"the planning range, {span(RANGE['gpu_hours_6nd'])}."
    usable = MANY["usable_bytes"]
    spare = [gb(usable - MANY["by_zero_stage"][stage]["total_bytes"]) for stage in (1, 2)]
    yield f"ZeRO-1 on 64 cards leaves {spare[0]}. ZeRO-2 leaves {spare[1]}"


# What the person asks for, the hardware, the recipe's bytes, what is cited
GIVEN = {str(n) for n in (*range(11), 12, 13, 15, 16, 18, 34, 35, 40, 45, 50, 64, 80, 100, 260, 312)}
GIVEN |= {"260e9", "1e12", "0.45", "0.514", "51.4", "135,168", "2302.13971", "20"}


@pytest.mark.parametrize("sentence", list(said()))
def test_the_page_says_what_the_sheet_has(sentence):
    assert sentence in re.sub(r"\s*\n(?!\||#|-|\n)", " ", PAGE)


def test_no_number_on_the_page_comes_from_elsewhere():
    known = GIVEN | {number.rstrip(",") for sentence in said() for number in NUMBER.findall(sentence)}
    found = {number.rstrip(",") for number in NUMBER.findall(PAGE)}
    assert found - known == set()


def test_the_published_run_is_what_6nd_makes_of_it():
    """LLaMA, arXiv 2302.13971, table 15."""
    assert PUBLISHED["gpu_hours_6nd"][0] == pytest.approx(135_168, rel=0.001)
    assert RANGE["gpu_hours_6nd"][0] > 135_168
