import json

import pytest

from llmprep.calc import families
from llmprep.calc.config import Config, read
from llmprep.errors import UserError

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
}


@pytest.fixture
def file(tmp_path):
    def write(fields):
        path = tmp_path / "config.json"
        path.write_text(fields if isinstance(fields, str) else json.dumps(fields), encoding="utf-8")
        return path

    return write


def test_a_folder_stands_for_its_config(file):
    path = file(LLAMA)
    assert families.from_file(path) == families.from_file(path.parent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "hidden_size is missing; a llama needs it"),
        ({"hidden_size": -64}, "hidden_size must be a positive whole number, not -64"),
        ({"hidden_size": 64.5}, "hidden_size must be a positive whole number, not 64.5"),
        ({"hidden_size": True}, "hidden_size must be a positive whole number, not True"),
        ({"hidden_size": "64"}, "hidden_size must be a positive whole number, not '64'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a positive whole number, not 0"),
        ({"num_attention_heads": 6}, "hidden_size 64 is not divisible by num_attention_heads 6"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not divisible by num_key_value_heads 3"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false, not 'yes'"),
        ({"model_type": "lama"}, r"model_type 'lama' is not a family that is counted; did you mean 'llama'\?"),
        ({"model_type": None}, "model_type is missing"),
        ({"model_type": None, "_class_name": "UNet2DConditionModel"}, "diffusers UNet2DConditionModel"),
        ({"model_type": ["llama"]}, "is not a family that is counted"),
    ],
)
def test_bad_fields_are_named_with_their_file(file, changes, message):
    path = file({**LLAMA, **changes})
    with pytest.raises(UserError, match=message) as caught:
        families.from_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_an_unknown_family_names_the_known_ones():
    with pytest.raises(UserError, match=r"known: .*gpt2, .*llama, .*mistral, .*qwen2, .*qwen3"):
        families.shape({}, "nothing like it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model_type": "llama",\n oops}', r"config\.json:2: not valid JSON"),
        ("[1, 2]", "expected an object"),
        ("[" * 100_000, "not a JSON text"),
        ('{"hidden_size": 1' + "0" * 5000 + "}", "not a JSON text"),
    ],
)
def test_what_is_no_config_is_refused(file, text, message):
    with pytest.raises(UserError, match=message):
        read(file(text))


def test_files_that_cannot_be_read(tmp_path, file):
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "nowhere.json")
    path = file("")
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match="not a JSON text"):
        read(path)


def test_null_is_absent_unless_the_family_says_otherwise():
    config = Config({"a": None, "b": 3}, "here")
    assert config.size("a", 5) == config.size("c", 5) == 5
    assert config.size("a", 5, null=7) == 7
    assert config.size("c", 5, null=7) == 5
    assert config.maybe_size("a") is None
    assert config.items("a") is None


def test_a_list_of_the_wrong_length_is_refused():
    with pytest.raises(UserError, match="here: layer_types must be a list of 2 entries"):
        Config({"layer_types": ["full_attention"]}, "here").items("layer_types", 2)
