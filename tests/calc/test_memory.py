import pytest

from llmprep.calc.memory import LEAN, RECIPES, activation_bytes_per_layer, state_bytes

# ZeRO, arXiv 1910.02054, table 1: GB per device at stages 1, 2, 3
TABLE_1 = {
    7.5e9: {
        1: (120, 120, 120),
        4: (52.5, 41.3, 30),
        16: (35.6, 21.6, 7.5),
        64: (31.4, 16.6, 1.88),
        256: (30.4, 15.4, 0.47),
        1024: (30.1, 15.1, 0.12),
    },
    128e9: {
        1: (2048, 2048, 2048),
        4: (896, 704, 512),
        16: (608, 368, 128),
        64: (536, 284, 32),
        256: (518, 263, 8),
        1024: (513, 257, 2),
    },
    1e12: {
        1: (16000, 16000, 16000),
        4: (7000, 5500, 4000),
        16: (4750, 2875, 1000),
        64: (4187, 2218, 250),
        256: (4046, 2054, 62.5),
        1024: (4011, 2013, 15.6),
    },
}


@pytest.mark.parametrize(("n_params", "n_devices"), [(n, d) for n, rows in TABLE_1.items() for d in rows])
def test_zero_table_1(n_params, n_devices):
    for stage, printed in enumerate(TABLE_1[n_params][n_devices], start=1):
        gb = state_bytes(n_params, RECIPES["mixed"], stage, n_devices) / 1e9
        assert gb == pytest.approx(printed, rel=0.03 if printed < 1 else 0.004), (n_params, n_devices, stage)


def test_zero_figure_1():
    """7.5B parameters on 64 GPUs, K = 12: 120, 31.4, 16.6, 1.9 GB."""
    gb = [state_bytes(7.5e9, RECIPES["mixed"], stage, 64) / 1e9 for stage in range(4)]
    assert gb == [120.0, 31.40625, 16.640625, 1.875]
    assert [round(each, 1) for each in gb] == [120.0, 31.4, 16.6, 1.9]


def test_deepspeed_estimator_counts_18_bytes():
    """DeepSpeed's estimate_zero{2,3}_model_states_mem_needs, run for 7.5B on 64 GPUs: 17.109 and 2.109 GB.

    FP32 gradients make it 18; its stage 2 counts the sharded 16-bit weights once more beside the whole ones.
    """
    recipe = RECIPES["mixed-fp32-grads"]
    assert state_bytes(7.5e9, recipe, 3, 64) / 1e9 == pytest.approx(2.109, abs=5e-4)
    assert state_bytes(7.5e9, recipe, 2, 64) / 1e9 + 2 * 7.5 / 64 == pytest.approx(17.109, abs=5e-4)
    assert state_bytes(7.5e9, RECIPES["mixed"], 3, 64) / 1e9 == pytest.approx(1.875)


def test_mixed_precision_does_not_shrink_the_states():
    assert RECIPES["fp32"].total == RECIPES["mixed"].total == 16
    assert RECIPES["mixed-fp32-grads"].total == 18
    assert LEAN["bf16-adam32"].total == 12
    assert RECIPES["bf16"].total == 8


def test_eight_bit_adam_keeps_a_scale_for_256_moments():
    assert LEAN["mixed-adam8bit"].total == 2 + 2 + 4 + 2 + 8 / 256


def test_stage_0_ignores_the_number_of_devices():
    assert state_bytes(100, RECIPES["mixed"], 0, 64) == state_bytes(100, RECIPES["mixed"]) == 1600


@pytest.mark.parametrize(("stage", "n_devices"), [(4, 8), (-1, 8), (1, 0)])
def test_nonsense_is_refused(stage, n_devices):
    with pytest.raises(ValueError, match="must"):
        state_bytes(1, RECIPES["mixed"], stage, n_devices)


# Korthikanti et al., arXiv 2205.05198, table 2, for GPT-3 175B: a = 96, h = 12288, s = 2048, so 5as/h = 80
@pytest.mark.parametrize(
    ("options", "in_units_of_sbh"),
    [
        ({}, 34 + 80),
        ({"tensor_parallel": 8}, 10 + 24 / 8 + 80 / 8),
        ({"tensor_parallel": 8, "sequence_parallel": True}, (34 + 80) / 8),
        ({"tensor_parallel": 8, "recompute": "selective"}, 10 + 24 / 8),
        ({"tensor_parallel": 8, "sequence_parallel": True, "recompute": "selective"}, 34 / 8),
        ({"tensor_parallel": 8, "recompute": "full"}, 2),
    ],
)
def test_activation_table_2(options, in_units_of_sbh):
    got = activation_bytes_per_layer(2048, 1, 12288, 96, **options)
    assert got == pytest.approx(in_units_of_sbh * 2048 * 12288, rel=1e-12)


def test_selective_recomputation_saves_what_section_5_prints():
    """70% for GPT-3 (5as/h = 80) and 65% for MT-NLG 530B (5as/h = 64)."""
    for heads, width, saved in ((96, 12288, 0.70), (128, 20480, 0.65)):
        plain = activation_bytes_per_layer(2048, 1, width, heads)
        selective = activation_bytes_per_layer(2048, 1, width, heads, "selective")
        assert 1 - selective / plain == pytest.approx(saved, abs=0.005)
