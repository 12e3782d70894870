# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.one_head_limit import one_thread
from llmprep.demos.architecture.reverse_seq2seq import Params, Seq2Seq, run, train, write


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Seq2Seq(5, 6).double().requires_grad_(requires_grad=False)


def test_later_digits_of_the_target_change_no_earlier_logit(model):
    source, written = torch.tensor([[0, 1, 2, 3, 4, 0]]), torch.tensor([[1, 2, 3, 4, 0]])
    other = torch.tensor([[1, 2, 3, 0, 1]])
    memory = model.encode(source, blank=False)
    same = model.decode(written, memory) == model.decode(other, memory)
    assert same.all(dim=-1)[0].tolist() == [True] * 4 + [False] * 2  # place t reads the digits before t


def test_blank_memory_hides_the_source(model):
    a, b = torch.tensor([[0, 1, 2, 3, 4, 0]]), torch.tensor([[4, 4, 0, 2, 1, 3]])
    assert torch.equal(model.encode(a, blank=True), model.encode(b, blank=True))
    assert not torch.equal(model.encode(a, blank=False), model.encode(b, blank=False))


def test_writing_step_by_step_agrees_with_teacher_forcing(model):
    source = torch.tensor([[3, 1, 4, 1, 0, 2]])
    written = write(model, source, blank=False)
    logits = model.decode(written[:, :-1], model.encode(source, blank=False))
    assert written.shape == (1, 6)
    assert torch.equal(logits.argmax(dim=-1), written)


def test_reversal_is_learned_through_cross_attention_only():
    accuracy = {}
    with torch.random.fork_rng(devices=[]), one_thread():
        for blank in (False, True):
            torch.manual_seed(1)
            small = Seq2Seq(4, 4)
            losses = train(small, 4, 4, 80, blank=blank)
            source = torch.randint(4, (200, 4))
            with torch.no_grad():
                accuracy[blank] = (write(small, source, blank=blank) == source.flip(1)).float().mean().item()
    assert losses[-1] == pytest.approx(math.log(4), abs=0.1)
    assert accuracy[False] > 0.9
    assert accuracy[True] == pytest.approx(0.25, abs=0.1)


@pytest.mark.parametrize("wrong", [{"vocab": 2}, {"seq_len": 64}, {"steps": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)


def test_run_reports_both():
    result = run(Params(vocab=4, seq_len=4, steps=100, memory="blank"))
    assert all(f.agrees for f in result.facts)
    assert [row[0] for row in result.table.rows] == ["encoder output", "blank"]
