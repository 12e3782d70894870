import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep import content
from llmprep.demos.inference.serving_cost import (
    Machine,
    Model,
    Params,
    cards_needed,
    decode,
    formula_step_seconds,
    run,
    step_sides,
)

# One byte, one FLOP and one unit of money per second make every number readable.
UNIT = Machine(cards=1, memory=1e9, bandwidth=1.0, flops=1e9, price=1.0)
TOY = Model(n_params=50, weight_bytes=100.0, kv_bytes=2)


def facts(**settings):
    return {f.name: f.measured for f in run(Params(**settings)).facts}


@pytest.mark.parametrize(
    ("batch", "tokens", "cached", "reading"), [(1, 1, 0, 100), (1, 1, 10, 120), (4, 1, 10, 180), (1, 512, 0, 100)]
)
def test_bytes_of_a_step_by_hand(batch, tokens, cached, reading):
    assert step_sides(TOY, UNIT, batch, tokens, cached) == (reading, 2 * 50 * batch * tokens / 1e9)


def test_decoding_reads_a_longer_cache_each_step():
    assert list(decode(TOY, UNIT, batch=2, prompt=3, new=3)) == [112, 116, 120]


@given(st.integers(1, 50), st.integers(1, 200), st.integers(1, 60), st.floats(1, 1e6))
def test_step_at_the_average_context_is_the_mean_of_the_steps(batch, prompt, new, flops):
    machine = Machine(1, 1e9, 1.0, flops, 1.0)
    formula = formula_step_seconds(TOY, machine, batch, prompt, new)
    if formula is not None:
        assert formula == pytest.approx(sum(decode(TOY, machine, batch, prompt, new)) / new)


def test_there_is_no_average_step_where_the_slower_side_changes():
    machine = Machine(1, 1e9, 1.0, 2 * 50 / 110, 1.0)  # computing a token takes 110 s; reading 100 s and growing
    assert formula_step_seconds(TOY, machine, batch=1, prompt=1, new=20) is None
    assert formula_step_seconds(TOY, machine, batch=1, prompt=1, new=2) == pytest.approx(110)


@pytest.mark.parametrize(("need", "cards"), [(1, 1), (10, 1), (10.1, 2), (21, 4), (41, 8)])
def test_cards_come_in_powers_of_two(need, cards):
    assert cards_needed(need, 10) == cards


@pytest.mark.parametrize(
    ("model", "bits", "gigabytes"),
    [("llama-3-70b", 16, 141.107), ("llama-3-70b", 8, 70.554), ("llama-3-70b", 4, 35.277), ("llama-2-7b", 16, 13.477)],
)
def test_weights(model, bits, gigabytes):
    assert facts(model=model, weight_bits=bits)["weights_gb"] == pytest.approx(gigabytes, rel=1e-4)


def test_alone_a_token_takes_one_reading_of_the_weights():
    """Without a cache to speak of: 141.1 GB over two cards at 3.35 TB/s each."""
    got = facts(batch_size=1, prompt_tokens=1, new_tokens=1, bandwidth_share=1.0)
    card = content.hardware("h100-sxm")
    assert got["cards"] == 2
    assert got["step_ms"] == pytest.approx(141.107e9 / (2 * card["bandwidth"]) * 1e3, rel=1e-3)


def test_price_is_machine_time_over_tokens():
    got = facts(prompt_tokens=1, batch_size=64)  # next to no prefill
    per_second = got["cards"] * 2.5 / 3600
    assert got["price_per_million"] == pytest.approx(per_second / got["tokens_per_second"] * 1e6, rel=0.02)
    assert facts(price_per_card_hour=5.0)["price_per_million"] == pytest.approx(2 * facts()["price_per_million"])


def test_batching_saves_less_than_the_batch_and_little_with_long_prompts():
    assert facts(batch_size=1)["batching_saving"] == pytest.approx(1)
    assert 30 < facts(batch_size=64)["batching_saving"] < 64
    assert facts(batch_size=64, prompt_tokens=32000)["batching_saving"] < 5


def test_four_bits_save_most_when_reading_the_weights_is_all_there_is():
    price = {(bits, n): facts(weight_bits=bits, batch_size=n)["price_per_million"] for bits in (4, 16) for n in (1, 64)}
    assert price[16, 1] / price[4, 1] > 3.5
    assert price[16, 64] / price[4, 64] < 2


def test_table_holds_only_batches_whose_cache_fits():
    result = run(Params(weight_bits=4))
    (cards,) = (f.measured for f in result.facts if f.name == "cards")
    room = cards * content.hardware("h100-sxm")["memory"] * 0.9 - 35.28e9
    assert max(row[0] for row in result.table.rows) * 1536 * 327_680 <= room


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "llama-3-8b", "hardware": "rtx-4090", "weight_bits": 4},
        {"model": "gpt2", "hardware": "t4"},
        {"batch_size": 4000, "prompt_tokens": 1, "new_tokens": 4000},
        {"flops_share": 0.01, "batch_size": 32},
    ],
)
def test_facts_agree(settings):
    assert [f.name for f in run(Params(**settings)).facts if not f.agrees] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"weight_bits": 3},
        {"batch_size": 0},
        {"memory_share": 0.0},
        {"bandwidth_share": 1.5},
        {"price_per_card_hour": 0.0},
        {"model": "deepseek-v3"},
        {"model": "bert-base-uncased"},
    ],
)
def test_nonsense_is_refused(settings):
    with pytest.raises(ValueError, match="must"):
        Params(**settings)
