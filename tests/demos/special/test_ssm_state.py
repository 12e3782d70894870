# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep import content
from llmprep.demos.special.ssm_state import Params, allocate_state, formula_state_bytes, mamba_shape, run


@pytest.mark.parametrize("model", ["mamba-130m", "mamba-2.8b"])
def test_bytes_are_those_weighed_in_transformers(model):
    weighed = content.model(model)["kv_bf16"]["state_bytes_hf_measured"]
    assert formula_state_bytes(*mamba_shape(model), 4) == weighed
    assert run(Params(model=model, compared_with="llama-3-8b")).fact("state_bytes").measured == weighed


def test_two_tensors_a_layer():
    states = allocate_state(3, 8, 16, 4, torch.float32)
    assert [tuple(t.shape) for t in states] == [(8, 16)] * 3 + [(8, 4)] * 3


def test_break_even_does_not_depend_on_the_length_and_the_ratio_is_linear_in_it():
    short, long = (run(Params(seq_len=n)) for n in (1024, 4096))
    assert short.fact("break_even_tokens").measured == long.fact("break_even_tokens").measured == 72
    assert long.fact("kv_over_state").measured == pytest.approx(4 * short.fact("kv_over_state").measured)


@pytest.mark.parametrize("wrong", [{"model": "llama-3-8b"}, {"compared_with": "mamba-2.8b"}, {"seq_len": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
