import json
from collections import Counter

from llmprep import content
from llmprep.calc import families

ENTRIES = content.load_json("models.json")["models"]


def test_every_model_names_its_source():
    """The config.json on the hub, or the table of a paper."""
    for entry in ENTRIES:
        if "hf_id" in entry:
            assert entry["source"] == f"https://huggingface.co/{entry['hf_id']}/blob/main/config.json", entry["name"]
            assert entry["hf_id"].count("/") == 1, entry["name"]
            assert " " not in entry["hf_id"], entry["name"]
        else:
            assert entry["source"].startswith("https://arxiv.org/abs/"), entry["name"]


def test_every_model_can_be_counted_and_is_there_once():
    assert {entry["model_type"] for entry in ENTRIES} <= families.FAMILIES.keys()
    assert max(Counter(entry["name"] for entry in ENTRIES).values()) == 1


def test_every_model_stands_on_one_line():
    lines = (content.data_dir() / "models.json").read_text(encoding="utf-8").splitlines()[2:-1]
    assert [json.loads(line.rstrip(","))["name"] for line in lines] == [entry["name"] for entry in ENTRIES]
