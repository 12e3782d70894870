# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.recurrent_state import Params, formula_state_bytes, run


@pytest.mark.parametrize("version", ["rwkv-4", "rwkv-7"])
@pytest.mark.parametrize("like", ["llama-3-8b", "qwen3-0.6b", "qwen3-8b"])
def test_allocated_is_predicted(version, like):
    result = run(Params(version=version, like=like))
    assert all(f.agrees for f in result.facts)


@pytest.mark.parametrize(("seq_len", "gib"), [(32768, 4), (131072, 16)])
def test_known_cache_of_llama_3_8b(seq_len, gib):
    assert run(Params(seq_len=seq_len)).fact("cache_gib").measured == gib


def test_state_per_layer_and_channel():
    assert formula_state_bytes("rwkv-4", 1, 1) == 16
    assert formula_state_bytes("rwkv-7", 1, 1) == 260


@pytest.mark.parametrize("wrong", [{"seq_len": 0}, {"like": "mamba-130m"}, {"like": "deepseek-v3"}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
