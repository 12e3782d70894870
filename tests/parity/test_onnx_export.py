# ruff: noqa: E402
import logging
import warnings

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from llmprep.demos.inference.onnx_export import (
    EncoderLayer,
    Params,
    call,
    export,
    load,
    operators,
    quiet,
    run,
    weight_bytes,
)

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Sequential(EncoderLayer(16, 2)).eval()


@pytest.fixture(scope="module")
def example():
    return torch.linspace(-1, 1, 2 * 5 * 16).view(2, 5, 16)


@pytest.fixture(scope="module")
def dynamic(model, example):
    return export(model, example, dynamic=True)


def test_the_layer_is_torchs_encoder_layer():
    """nn.TransformerEncoderLayer with the same weights, norm after the residual and exact GELU."""
    ours, theirs = EncoderLayer(16, 2), torch.nn.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", batch_first=True)
    qkv = (ours.wq, ours.wk, ours.wv)
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([w.weight for w in qkv]),
            "self_attn.in_proj_bias": torch.cat([w.bias for w in qkv]),
            **{f"self_attn.out_proj.{k}": v for k, v in ours.wo.state_dict().items()},
            **{f"linear1.{k}": v for k, v in ours.up.state_dict().items()},
            **{f"linear2.{k}": v for k, v in ours.down.state_dict().items()},
            **{f"norm{i}.{k}": v for i in (1, 2) for k, v in getattr(ours, f"norm{i}").state_dict().items()},
        }
    )
    x = torch.randn(3, 7, 16)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("optimisation", ["none", "basic", "extended", "all"])
def test_every_level_computes_the_same(model, dynamic, optimisation):
    session, _ = load(dynamic, optimisation)
    for shape in [(2, 5, 16), (1, 9, 16)]:
        x = torch.randn(*shape)
        torch.testing.assert_close(call(session, x), model(x), rtol=1e-4, atol=1e-5)


def test_the_file_is_valid_and_standard(dynamic):
    onnx.checker.check_model(dynamic)
    assert {node.domain for node in dynamic.graph.node} <= {"", "ai.onnx"}


def test_fusion_happens_in_the_runtime(dynamic):
    exported, (_, plain), (_, fused) = operators(dynamic), load(dynamic, "none"), load(dynamic, "all")
    assert plain == exported
    assert fused["com.microsoft.SkipLayerNormalization"] == 2
    assert fused.total() < exported.total()


def test_undeclared_sizes_are_frozen(model, example):
    session, _ = load(export(model, example, dynamic=False), "all")
    assert call(session, example) is not None
    assert call(session, example[:, :4]) is None
    assert call(session, example[:1]) is None


def test_equal_tensors_are_stored_once(model, dynamic):
    """Two fresh LayerNorms have equal weights and equal biases: the exporter keeps one of each."""
    stored, total = weight_bytes(dynamic), sum(w.nbytes for w in model.parameters())
    assert total - stored == 2 * 16 * 4


def test_quiet_gives_back_what_it_took():
    before = logging.root.manager.disable, list(warnings.filters)
    with quiet():
        warnings.warn("not heard", stacklevel=1)
    assert (logging.root.manager.disable, list(warnings.filters)) == before


def test_facts_agree():
    result = run(Params(n_layers=1, d_model=32))
    assert [f for f in result.facts if not f.agrees] == []
    assert result.fact("shapes_accepted").measured == result.fact("shapes_tried").measured


@pytest.mark.parametrize("wrong", [{"n_layers": 0}, {"n_layers": 9}, {"n_heads": 3}, {"n_heads": 0}, {"n_heads": 64}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
