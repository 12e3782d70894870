import pytest

from llmprep.calc import quantities
from llmprep.errors import UserError


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("weights_gb", {"params_billion": 8, "bits": 4.5}, 4.5),
        (
            "kv_gb",
            {"n_layers": 32, "n_kv_heads": 8, "head_dim": 128, "bits": 16, "seq_len": 8192, "batch": 2},
            2 * 131_072 * 8192 / 1e9,
        ),
        ("states_gb_per_gpu", {"params_billion": 13, "stage": 0, "gpus": 8}, 208),
        ("states_gb_per_gpu", {"params_billion": 13, "stage": 1, "gpus": 8}, 4 * 13 + 12 * 13 / 8),
        ("states_gb_per_gpu", {"params_billion": 13, "stage": 3, "gpus": 8}, 26),
        (
            "training_days",
            {"params_billion": 13, "tokens_billion": 260, "gpus": 64, "gpu": "a100-80gb", "mfu_percent": 45},
            6 * 13e9 * 260e9 / (64 * 312e12 * 0.45) / 86_400,
        ),
        ("decode_ms", {"params_billion": 7, "bits": 16, "gpu": "a100-80gb"}, 14e9 / 2.039e12 * 1e3),
    ],
)
def test_answers(name, settings, expected):
    assert quantities.answer(name, settings) == pytest.approx(expected, rel=1e-12)
    assert sorted(quantities.find(name).names) == sorted(settings)


def test_an_unknown_quantity_names_the_known_ones():
    with pytest.raises(UserError, match=r"did you mean 'kv_gb'.*weights_gb"):
        quantities.find("kv_bg")
