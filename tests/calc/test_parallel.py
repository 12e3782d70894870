from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep import content
from llmprep.calc import families, memory, params
from llmprep.calc.adapters import Adapters
from llmprep.calc.job import Job
from llmprep.calc.parallel import Layout, bubble, hold
from llmprep.calc.shapes import Attention, FeedForward, Layer, Shape, Stack
from llmprep.calc.slicing import cut
from llmprep.calc.traffic import elements_sent, sent

MODELS = [m["name"] for m in content.load_json("models.json")["models"]]
LLAMA = Job(families.of("llama-13b"), 2048)
STAGES = pytest.mark.parametrize("stage", range(4))


def gpt(layers, d, heads):
    layer = Layer(Attention(heads, heads, d // heads), FeedForward(4 * d, gated=False))
    return Shape("gpt2", 51_200, d, (Stack(layer, layers),), tied=True, norm="layer")


@pytest.mark.parametrize("name", MODELS)
def test_a_cut_into_one_piece_is_the_model(name):
    shape = families.of(name)
    whole = cut(Job(shape, 64), 1, sequence=False)
    inside = sum(layer.stored * layer.trained for layer in whole.layers)
    assert inside + whole.table + whole.before + whole.after + whole.head == params.total(shape)


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("name", ["llama-3-8b", "mixtral-8x7b", "deepseek-v2-lite", "qwen3-0.6b", "gpt2"])
def test_a_cut_into_one_piece_has_all_adapters_and_the_whole_base(name, method):
    job = Job(families.of(name), 64, method, adapters=Adapters(8))
    held = hold(job, Layout())
    assert held.weights == 2 * job.trained
    assert held.frozen == pytest.approx(job.frozen_bytes, rel=1e-12)
    assert held.states == pytest.approx(job.states, rel=1e-12)


@STAGES
def test_data_parallel_states_are_zeros(stage):
    for d in (1, 2, 8, 64):
        expected = memory.state_bytes(LLAMA.total, LLAMA.recipe, stage, d)
        assert hold(LLAMA, Layout(data=d, zero=stage)).states == pytest.approx(expected, rel=1e-12)


def test_13b_at_the_whiteboard():
    """208 GB of states; ZeRO-3 on 8 cards 26.0; ZeRO-1, 2, 3 on 64 cards 54.5, 28.9, 3.3."""
    assert LLAMA.states / 1e9 == pytest.approx(208.25, abs=0.01)
    gb = {(d, z): hold(LLAMA, Layout(data=d, zero=z)).states / 1e9 for d in (8, 64) for z in (1, 2, 3)}
    assert {k: round(v, 1) for k, v in gb.items()} == {
        (8, 1): 71.6,
        (8, 2): 48.8,
        (8, 3): 26.0,
        (64, 1): 54.5,
        (64, 2): 28.9,
        (64, 3): 3.3,
    }


def test_tensor_parallelism_divides_matrices_and_copies_norms():
    t, shape = 8, families.of("llama-13b")
    vectors = sum(n * w.copies * w.size for n, _, w in shape.weights() if w.kind == "vector")
    held = hold(LLAMA, Layout(tensor=t))
    assert held.weights == 2 * ((LLAMA.total - vectors) / t + vectors)


def test_tensor_parallelism_beyond_the_kv_heads_copies_keys_and_values():
    few = Job(families.of("llama-2-7b", num_key_value_heads=2), 64)
    four, two = (hold(few, Layout(tensor=t)).weights for t in (4, 2))
    kv = 2 * 32 * 2 * 4096 * 2 * 128
    vectors = 2 * 65 * 4096
    assert four == (two - vectors - kv / 2) / 2 + vectors + kv / 2


def test_adapters_are_divided_where_their_matrix_is():
    """A of W_down and B of W_up meet the divided d_ff; the other halves lie on every GPU."""
    d, ff, r = 4096, 11_008, 8
    lora = Job(families.of("llama-2-7b"), 64, "lora", adapters=Adapters(r))
    layer = r * (4 * (d + d / 2) + 3 * (d + ff / 2))
    assert hold(lora, Layout(tensor=2)).weights == 2 * 32 * layer


def test_a_router_lies_on_every_gpu():
    job = Job(families.of("mixtral-8x7b"), 64)
    one, two = (hold(job, Layout(tensor=t)).weights / 2 for t in (1, 2))
    whole = 32 * 4096 * 8 + 65 * 4096
    assert two == (one - whole) / 2 + whole


def test_stages_of_a_pipeline():
    """Embedding on the first, norm and head on the last; the first keeps p micro-batches, the last one and logits."""
    d, v, layer = 5120, 32_000, 4 * 5120**2 + 3 * 5120 * 13_824 + 2 * 5120
    layout = Layout(pipeline=4, accumulation=64)
    assert [layout.in_flight(i) for i in range(4)] == [4, 3, 2, 1]
    held = hold(LLAMA, layout)
    assert held.weights == 2 * (10 * layer + v * d)
    assert held.activations == hold(LLAMA, Layout()).activations
    assert held.head == 0


def test_a_short_batch_does_not_fill_the_first_stage():
    assert hold(LLAMA, Layout(pipeline=4, accumulation=2)).activations == hold(LLAMA, Layout()).activations / 2


def test_the_last_stage_may_be_the_fullest():
    """With a vocabulary of 256,000 the logits weigh more than the embedding and the other micro-batches."""
    job = Job(families.of("llama-3-8b", vocab_size=256_000), 8192)
    held = hold(job, Layout(pipeline=8, accumulation=1, recompute="full"))
    assert held.head == pytest.approx(8192 * 256_000 * 6, rel=0.02)


def test_a_tied_head_is_copied_to_the_last_stage():
    shape = families.of("gemma-2-2b")
    tied, untied = (Job(s, 64) for s in (shape, replace(shape, tied=False)))
    layout = Layout(pipeline=2, accumulation=2)
    assert hold(tied, layout) == hold(untied, layout)
    assert hold(tied, Layout()).weights < hold(untied, Layout()).weights


def test_unequal_stages_round_up():
    """126 layers over 8 stages: 16 on the fullest."""
    job = Job(families.of("llama-3.1-405b"), 64)
    table, layer = 128_256 * 16_384, 3_187_703_808
    assert hold(job, Layout(pipeline=8, accumulation=8)).weights == 2 * (16 * layer + table)


def test_heaviest_layers_are_assumed_to_meet():
    job = Job(families.of("deepseek-v3"), 64)
    dense, sparse = (layer.trained for layer in cut(job, 1, sequence=False).layers)
    assert sparse > dense
    assert hold(job, Layout(pipeline=61, accumulation=1)).gradients >= 2 * sparse


# Korthikanti et al., arXiv 2205.05198, table 3: FP32 gradients, no ZeRO, sequence parallelism, t = 8
@pytest.mark.parametrize(
    ("shape", "pipeline", "micro_batch"),
    [
        (gpt(48, 6144, 64), 1, 4),
        (gpt(96, 12288, 96), 8, 1),
        (gpt(105, 20480, 128), 35, 1),
        (gpt(128, 25600, 160), 64, 1),
    ],
    ids=["22B", "175B", "530B", "1T"],
)
def test_layouts_of_table_3_fit_80_gb_only_with_recomputation(shape, pipeline, micro_batch):
    job = Job(shape, 2048, recipe_name="mixed-fp32-grads", dropout=True)

    def gb(recompute, *, sequence):
        layout = Layout(1, 8, pipeline, 0, recompute, sequence, micro_batch, pipeline)
        return hold(job, layout).total / 1e9

    assert gb("selective", sequence=True) < 72
    assert gb("none", sequence=False) > 100
    assert gb("full", sequence=False) < gb("selective", sequence=True) < gb("selective", sequence=False)


def test_what_stage_3_gathers():
    """Two layers and the tables in 16 bits, and a layer's gradients: 13B holds 2.6 GB of them."""
    layer, tables, norm = 4 * 5120**2 + 3 * 5120 * 13_824 + 2 * 5120, 2 * 32_000 * 5120, 5120
    by_stage = [hold(LLAMA, Layout(data=8, zero=z)).buffers for z in range(4)]
    assert by_stage == [0, 0, 2 * layer, 2 * 2 * layer + 2 * (tables + norm) + 2 * layer]
    assert hold(LLAMA, Layout(data=1, zero=3)).buffers == 0


def test_qlora_dequantises_a_matrix():
    job = Job(families.of("llama-2-7b"), 64, "qlora", adapters=Adapters(8))
    assert hold(job, Layout()).buffers == 2 * 4096 * 11_008


def test_full_recomputation_needs_one_layer_at_work():
    full, selective = (hold(LLAMA, Layout(recompute=policy)) for policy in ("full", "selective"))
    assert full.activations == 2 * 2048 * 5120 * 40
    assert full.recomputed == selective.activations / 40
    assert selective.recomputed == 0


def test_bubbles():
    assert bubble(8, 64) == 7 / 64
    assert bubble(8, 64, chunks=4) == 7 / 256
    assert Layout(pipeline=1, accumulation=9).bubble == 0


@STAGES
def test_volume_of_each_stage(stage):
    """ZeRO, section 7: 2Ψ, 2Ψ, 2Ψ, 3Ψ, of which a ring of N sends (N − 1)/N."""
    assert elements_sent(1e9, stage, 4) == (3 if stage == 3 else 2) * 1e9 * 3 / 4
    got = sent(LLAMA, Layout(data=4, zero=stage)).in_a_step(1)
    assert got == pytest.approx(2 * elements_sent(LLAMA.total, stage, 4), rel=1e-12)
    assert sent(LLAMA, Layout(data=1, zero=stage)).in_a_step(8) == 0


def test_accumulation_repeats_what_stages_2_and_3_send():
    n = 2 * LLAMA.total * 7 / 8
    steps = [sent(LLAMA, Layout(data=8, zero=stage)).in_a_step(16) for stage in range(4)]
    assert steps == pytest.approx([2 * n, 2 * n, 17 * n, 48 * n], rel=1e-12)


def test_adapters_send_only_their_gradients():
    lora = Job(families.of("llama-2-7b"), 64, "lora", adapters=Adapters(8))
    assert sent(lora, Layout(data=2)).data_once == 2 * lora.trained
    gathered = sent(lora, Layout(data=2, zero=3)).data_each
    assert gathered == pytest.approx(lora.frozen_bytes + 3 * lora.trained, rel=1e-12)


def test_tensor_parallel_traffic():
    """4 all-reduces of s·b·d a layer: 2·(t − 1)/t of 2·2048·5120 B each."""
    each = sent(LLAMA, Layout(tensor=8)).tensor_each
    assert each == pytest.approx(40 * 4 * 2 * 7 / 8 * 2 * 2048 * 5120)
    assert sent(LLAMA, Layout(pipeline=4, accumulation=4)).pipeline_each == 2 * 2 * 2048 * 5120


SHAPES = st.builds(
    lambda heads, groups, head_dim, d_ff, layers, vocab, tied: Shape(
        "llama",
        vocab,
        8 * heads * head_dim,
        (Stack(Layer(Attention(8 * heads, 8 * heads // groups, head_dim), FeedForward(d_ff)), layers),),
        tied,
    ),
    st.integers(1, 8),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 128),
    st.integers(8, 20_000),
    st.integers(8, 100),
    st.integers(100, 300_000),
    st.booleans(),
)
JOBS = st.builds(
    lambda shape, seq_len, method, recipe, rank: Job(
        shape, seq_len, method, recipe, None if method == "full" else Adapters(rank)
    ),
    SHAPES,
    st.integers(16, 8192),
    st.sampled_from(["full", "lora", "qlora"]),
    st.sampled_from(list(memory.EVERY)),
    st.integers(1, 64),
)
LAYOUTS = st.builds(
    Layout,
    data=st.integers(2, 64),
    tensor=st.sampled_from([1, 2, 4, 8]),
    pipeline=st.integers(1, 8),
    zero=st.integers(0, 3),
    recompute=st.sampled_from(["none", "selective", "full"]),
    sequence=st.booleans(),
    micro_batch=st.integers(1, 4),
    accumulation=st.integers(1, 64),
)


@given(job=JOBS, layout=LAYOUTS, more=st.integers(1, 64))
def test_laws_of_holding(job, layout, more):
    held = hold(job, layout)
    assert min(held) >= 0
    assert hold(job, layout._replace(data=layout.data + more)).total <= held.total
    higher = hold(job, layout._replace(zero=min(3, layout.zero + 1)))
    assert higher.states <= held.states * (1 + 1e-12)
    assert hold(job, layout._replace(sequence=True)).total <= held.total * (1 + 1e-12)
    assert hold(job, layout._replace(micro_batch=layout.micro_batch + 1)).total > held.total
    policies = [hold(job, layout._replace(recompute=policy)).activations for policy in ("full", "selective", "none")]
    assert policies == sorted(policies)


@given(job=JOBS, layout=LAYOUTS)
def test_more_tensor_parallelism_never_holds_more(job, layout):
    wider = layout._replace(tensor=min(8, 2 * layout.tensor))
    assert hold(job, wider).total <= hold(job, layout).total * (1 + 1e-12)


@given(job=JOBS, layout=LAYOUTS)
def test_higher_stages_send_no_less(job, layout):
    volumes = [sent(job, layout._replace(zero=stage)).in_a_step(layout.accumulation) for stage in range(4)]
    mixed = job.recipe.weights == job.recipe.gradients
    assert not mixed or volumes == sorted(volumes) or volumes == pytest.approx(sorted(volumes))
