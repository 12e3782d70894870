# ruff: noqa: E402
"""Beam search, length normalisation and greedy decoding against transformers' `generate` on the same Markov model."""

import random

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.modeling_outputs import CausalLMOutput

from llmprep.demos.inference.beam_search import beam_search, garden_path, markov, random_rows

pytestmark = pytest.mark.parity
VOCAB, END, BOS = 6, 6, 7


class MarkovConfig(transformers.PretrainedConfig):
    model_type = "llmprep-markov"
    num_hidden_layers = 1  # asked for when a cache is prepared


class MarkovModel(transformers.PreTrainedModel, transformers.GenerationMixin):
    """Log-probabilities as logits: `step` of the demo, asked once per row of the batch."""

    config_class = MarkovConfig
    main_input_name = "input_ids"
    _is_stateful = True  # no cache to reorder

    def __init__(self, step):
        super().__init__(MarkovConfig(vocab_size=8, eos_token_id=END, bos_token_id=BOS, pad_token_id=END))
        self.step, self.anchor = step, torch.nn.Parameter(torch.zeros(1))
        self.post_init()

    def prepare_inputs_for_generation(self, input_ids, **_):
        return {"input_ids": input_ids}

    def forward(self, input_ids, **_):
        rows = []
        for text in input_ids[:, 1:].tolist():
            done = END in text
            log_probs = [-1e9] * VOCAB + [0.0] if done else list(self.step(tuple(text)))
            rows.append([max(x, -1e9) for x in log_probs] + [-1e9] * (8 - len(log_probs)))
        return CausalLMOutput(logits=torch.tensor(rows)[:, None])


def generate(step, width, max_len, length_penalty):
    out = MarkovModel(step).generate(
        torch.tensor([[BOS]]),
        num_beams=width,
        num_return_sequences=1,
        max_new_tokens=max_len,
        length_penalty=length_penalty,
        early_stopping="never",
        do_sample=False,
        use_cache=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    text = out.sequences[0, 1:].tolist()
    score = out.sequences_scores[0].item() if width > 1 else None
    return text, score


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_same_score_with_ends_and_length_penalty(seed, width, alpha):
    step = markov(random_rows(random.Random(seed), VOCAB), 0.1)
    score, _ = beam_search(step, width, 10, eos=END, length_penalty=alpha)[0]
    text, their_score = generate(step, width, 10, alpha)
    assert their_score == pytest.approx(score, abs=1e-4)
    # A Markov model gives the same score to reordered cycles, so texts are compared by their own score.
    text = text[: text.index(END) + 1] if END in text else text
    own = sum(step(tuple(text[:t]))[token] for t, token in enumerate(text)) / len(text) ** alpha
    assert own == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_greedy_is_width_one(seed):
    step = markov(random_rows(random.Random(seed), VOCAB))
    assert generate(step, 1, 10, 0.0)[0] == list(beam_search(step, 1, 10)[0][1])


def test_garden_path_fools_transformers_too():
    texts = {width: generate(garden_path, width, 3, 0.0)[0] for width in (1, 2, 3)}
    assert texts[1] == texts[3] == [0, 0, 0]
    assert texts[2][0] == 1
