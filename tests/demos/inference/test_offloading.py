import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.inference.offloading import Layer, Params, formula_step, roofline, run, simulate

times = st.floats(0.01, 10)
layer_lists = st.lists(st.builds(Layer, st.one_of(st.just(0.0), times), times), min_size=1, max_size=25)


def facts(**settings_):
    return {f.name: f for f in run(Params(**settings_)).facts}


def recurrence(layers, n_buffers):
    """The same step as a max-plus recurrence: when each transfer and each computation ends."""
    sent, computed, freed = 0.0, 0.0, []
    for layer in layers:
        ready = 0.0
        if layer.transfer_s:
            slot = freed[len(freed) - n_buffers] if len(freed) >= n_buffers else 0.0
            sent = ready = max(sent, slot) + layer.transfer_s
        computed = max(computed, ready) + layer.compute_s
        if layer.transfer_s:
            freed.append(computed)
    return computed


@given(layer_lists, st.integers(1, 4))
def test_events_agree_with_the_recurrence(layers, n_buffers):
    assert simulate(layers, n_buffers).step_s == pytest.approx(recurrence(layers, n_buffers))


@given(st.integers(1, 40), times, times, st.integers(1, 4))
def test_equal_layers_follow_the_formula(n, transfer_s, compute_s, n_buffers):
    seen = simulate([Layer(transfer_s, compute_s)] * n, n_buffers)
    assert seen.step_s == pytest.approx(formula_step(n, transfer_s, compute_s, n_buffers))


@given(layer_lists, st.integers(1, 3))
def test_laws_of_overlap(layers, n_buffers):
    seen = simulate(layers, n_buffers)
    transfer, compute = (sum(column) for column in zip(*layers, strict=True))
    assert (seen.link_s, seen.compute_s) == pytest.approx((transfer, compute))
    assert max(transfer, compute) <= seen.step_s * (1 + 1e-9)
    assert seen.step_s <= (transfer + compute) * (1 + 1e-9)
    assert simulate(layers, n_buffers + 1).step_s <= seen.step_s * (1 + 1e-9)


def test_a_drawing_that_fits_on_a_napkin():
    """Transfers of 3 s and computations of 1 s, two layers: 3 + 3 + 1 overlapped, 3 + 1 + 3 + 1 in turn."""
    layers = [Layer(3, 1)] * 2
    assert simulate(layers, 2) == (7, 6, 2)
    assert simulate(layers, 1).step_s == 8


def test_roofline_of_a_layer():
    assert roofline(params=10, n_bytes=20, tokens=1, flops=1e9, bandwidth=4) == 5
    assert roofline(params=10, n_bytes=20, tokens=100, flops=100, bandwidth=4) == 20


def test_llama_3_70b_over_25_gb_per_s():
    """141 GB in all, of which the input embedding is looked up: 139 GB / 25 GB/s = 5.6 s."""
    assert facts()["step_s"].measured == pytest.approx(5.6, abs=0.05)
    assert facts(tokens=64)["step_s"].measured == facts()["step_s"].measured
    assert facts(hardware="h100-sxm")["step_s"].measured == pytest.approx(facts()["step_s"].measured, rel=0.001)


def test_overlap_saves_the_shorter_of_the_two():
    turn, overlapped = (facts(tokens=8192, n_buffers=n)["step_s"].measured for n in (1, 2))
    assert turn / overlapped == pytest.approx(1.8, abs=0.05)


@pytest.mark.parametrize(("cpu_tflops", "bits"), [(1.0, 16), (2.0, 16), (1.0, 4)])
def test_the_cpu_wins_up_to_its_flops_over_the_link(cpu_tflops, bits):
    expected = cpu_tflops * 1e12 * bits / 8 / (2 * 25e9)
    assert facts(cpu_tflops=cpu_tflops, weight_bits=bits)["link_beats_cpu_from"].measured == pytest.approx(
        expected, abs=1.1
    )


@pytest.mark.parametrize(
    "setting",
    [
        {"compute_on": "cpu", "gpu_layers": 10},
        {"link_gb_per_s": 0.01},
        {"tokens": 100_000, "n_buffers": 1},
        {"model": "mamba-130m"},
        {"weight_bits": 4, "gpu_layers": 40},
        {"hardware": "t4", "model": "llama-2-13b"},
    ],
)
def test_facts_agree_for_odd_settings(setting):
    assert [f for f in facts(**setting).values() if not f.agrees] == []


def test_resident_layers_do_not_travel():
    moved = [facts(gpu_layers=n, n_buffers=2)["moved_gb"].measured for n in (0, 8)]
    assert moved[1] == pytest.approx(moved[0] * 72 / 80)


@pytest.mark.parametrize(
    "wrong",
    [
        {"gpu_layers": 80},
        {"gpu_layers": 12},
        {"tokens": 0},
        {"n_buffers": 0},
        {"link_gb_per_s": 0},
        {"link_gb_per_s": 2000},
        {"cpu_tflops": -1},
        {"model": "mixtral-8x7b"},
        {"model": "gpt2"},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
