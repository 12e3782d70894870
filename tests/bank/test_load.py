import pytest

from llmprep.bank.load import Loaded, dotted, load_file
from llmprep.bank.types import Question


def problems_of(bank, text, name="a"):
    result = load_file(bank(**{name: text}) / f"{name}.yaml")
    assert not isinstance(result, Loaded), "expected problems"
    return [str(p) for p in result]


def test_a_draft_needs_only_prompt_answer_and_points(bank, draft):
    loaded = load_file(bank(a=draft("a")) / "a.yaml")
    assert isinstance(loaded, Loaded)
    question = loaded.question
    assert question.prompt.en == "What does a KV cache keep?"
    assert question.prompt.pick("zh") == question.prompt.en
    assert question.answer.what.en == "It keeps keys and values."
    assert question.claims == ()


def test_a_chinese_draft_is_taken_as_chinese(bank):
    text = "id: a\ncluster: inference\nprompt: 缓存了什么？\nanswer: 键和值。\n"
    loaded = load_file(bank(a=text) / "a.yaml")
    assert isinstance(loaded, Loaded)
    assert (loaded.question.prompt.en, loaded.question.prompt.zh) == ("", "缓存了什么？")


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (("cluster: inference", "cluster: inferense"), 2, "did you mean 'inference'"),
        (("id: a", "id: b"), 1, "differs from the file's name"),
        (("answer:", "anwser:"), 4, "did you mean 'answer'"),
        (("prompt: What does a KV cache keep?", "prompt: [1]"), 3, "prompt"),
        (("prompt: What does a KV cache keep?", "prompt: ''"), 3, "ask something"),
        (("id: kv,", "id: kv, sya: x,"), 6, "did you mean 'say'"),
        (("- {id: kv, say: keys and values are kept}", "- {id: kv}"), 6, "is missing"),
        (("key_points:", "asked: many\nkey_points:"), 5, "valid integer"),
        (("key_points:", "level: easy\nkey_points:"), 5, "'core', 'deep' or 'expert'"),
        (("answer: It keeps keys and values.", "answer: {en: x, fr: y}"), 4, "unknown key"),
        (("key_points:", "claims: yes please\nkey_points:"), 5, "claims"),
        (("key_points:", "claims: [{says: hi, kind: arithmetic, demo: x, set: {a: [1]}}]\nkey_points:"), 5, "set"),
        (("key_points:\n", "key_points:\n  - {id: kv, say: again}\n"), 5, "stands twice"),
    ],
)
def test_each_mistake_is_named_with_its_line(bank, draft, change, line, says):
    found = problems_of(bank, draft("a").replace(*change))
    assert any(f"a.yaml:{line}: " in p and says in p for p in found), found


def test_all_problems_are_reported_not_only_the_first(bank, draft):
    text = draft("a").replace("cluster: inference", "cluster: nowhere") + "asked: many\nlevl: core\n"
    found = problems_of(bank, text)
    assert len(found) == 3, found


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "3\n"])
def test_a_file_without_a_mapping(bank, text):
    assert "expected a mapping" in problems_of(bank, text)[0]


def test_an_unreadable_file(tmp_path):
    found = load_file(tmp_path / "gone.yaml")
    assert isinstance(found, list)
    assert "cannot be read" in str(found[0])


def test_dotted():
    assert dotted(("claims", 0, "says", "en")) == "claims[0].says.en"


def test_the_index_gives_back_what_was_read(bank):
    from dataclasses import asdict
    from json import dumps, loads
    from pathlib import Path

    from llmprep import content
    from llmprep.bank.types import from_plain

    path = next(Path(content.questions_dir()).rglob("kv-cache.yaml"))
    loaded = load_file(path)
    assert isinstance(loaded, Loaded)
    assert from_plain(Question, loads(dumps(asdict(loaded.question)))) == loaded.question
