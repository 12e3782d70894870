import pytest

from llmprep import content
from llmprep.calc import compute, families, params
from llmprep.calc.sheets import flops
from llmprep.errors import UserError

MODELS = [m["name"] for m in content.load_json("models.json")["models"]]


def said(sheet):
    return " ".join(text.en for text in sheet.reasons)


@pytest.mark.parametrize("name", MODELS)
def test_every_model(name, check):
    sheet = flops.sheet(families.of(name), name)
    check(sheet)
    assert sheet.data["forward"]["total"] == compute.forward(families.of(name), sheet.data["seq_len"]).total


def test_llama_3_8b():
    data = flops.sheet(families.of("llama-3-8b"), "llama-3-8b", seq_len=4096, batch=2).data
    n = 7_504_658_432
    assert data["params_in_matmuls"] == n
    assert data["forward"]["linear"] + data["forward"]["head"] == 2 * n * 4096
    assert data["forward"]["attention"] == 32 * 4 * 4096 * (4096 * 4097 // 2)
    assert data["forward_square"]["attention"] == 32 * 4 * 4096 * 4096**2
    assert data["decode"]["total"] == 2 * n + 32 * 4 * 4096 * 4096
    assert data["training"]["flops"] == 3 * (2 * n * 4096 + 32 * 4 * 4096 * 4096**2)
    assert data["training"]["batch_flops"] == 2 * data["training"]["flops"]
    assert data["training"]["six_n_d"] == 6 * 8_030_261_248 * 4096
    assert data["training"]["six_n_d_error"] == pytest.approx(-0.0639, abs=5e-5)


def test_sparse_models_pay_for_chosen_experts_only():
    sheet = flops.sheet(families.of("deepseek-v3"), "deepseek-v3", seq_len=4096)
    assert "36.6B of 671B parameters" in said(sheet)
    assert f"{sheet.data['training']['six_n_d_error'] + 1:.1f}× too high" in said(sheet)
    assert 13 < sheet.data["training"]["six_n_d_error"] < 17
    assert any("MLA absorbed" in row.label.en for section in sheet.sections for row in section.rows)
    assert sheet.data["decode_decompression"] > 50 * sheet.data["decode"]["total"]


def test_an_encoder_decodes_nothing():
    sheet = flops.sheet(families.of("bert-base-uncased"), "bert-base-uncased")
    assert "decode" not in sheet.data
    assert sheet.data["forward"] == sheet.data["forward_square"]
    assert "too high" in said(sheet)


def test_terms_of_a_token_are_two_flops_a_weight():
    shape = families.of("mixtral-8x7b")
    section = flops.sheet(shape, "mixtral-8x7b").sections[0]
    matrices = sum(row.value for row in section.rows if "itself" not in row.label.en)
    assert matrices == 2 * params.in_matmuls(shape)


@pytest.mark.parametrize(("options", "name"), [({"seq_len": 0}, "--seq-len"), ({"batch": 0}, "--batch")])
def test_bad_options(options, name):
    with pytest.raises(UserError, match=f"{name} must be at least 1, not 0"):
        flops.sheet(families.of("gpt2"), "gpt2", **options)
