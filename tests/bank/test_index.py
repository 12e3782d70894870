import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from llmprep import content
from llmprep.bank.index import open_bank
from llmprep.errors import UserError


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_opens_lists_and_finds(bank, draft, cache):
    folder = bank(
        kv_cache=draft("kv-cache", "What does a KV cache keep?"),
        paging=draft("paging", "分页如何消除显存碎片？"),
    )
    opened = open_bank(folder, cache)
    assert len(opened) == 2
    assert [e.id for e in opened.search("kv")] == ["kv-cache"]
    assert [e.id for e in opened.search("显存")] == ["paging"]
    assert [e.id for e in opened.search("caches")] == ["kv-cache"], "English words are stemmed"
    assert opened.search("显碎") == [], "a run of Chinese is a phrase"
    assert opened.question("paging").prompt.zh == "分页如何消除显存碎片？"
    opened.close()


@pytest.mark.parametrize("words", ['"', "'", "a OR", "(", "*", "AND", "NEAR(", "-", "", "  ", "a:b", "\x00"])
def test_search_takes_any_text(bank, draft, cache, words):
    opened = open_bank(bank(a=draft("a")), cache)
    assert isinstance(opened.search(words), list)
    opened.close()


def test_an_edit_an_addition_and_a_removal_are_seen(bank, draft, cache):
    folder = bank(a=draft("a"), b=draft("b"))
    open_bank(folder, cache).close()
    path = folder / "a.yaml"
    path.write_text(draft("a", "A new prompt?"), encoding="utf-8")
    os.utime(path, ns=(1, 1))
    (folder / "b.yaml").unlink()
    bank(c=draft("c"))
    opened = open_bank(folder, cache)
    assert sorted(opened.ids()) == ["a", "c"]
    assert opened.question("a").prompt.en == "A new prompt?"
    assert [e.id for e in opened.search("new prompt")] == ["a"]
    opened.close()


def test_a_broken_file_is_a_problem_and_the_rest_works(bank, draft, cache):
    opened = open_bank(bank(a=draft("a"), b="id: [\n"), cache)
    assert opened.ids() == ["a"]
    (problem,) = opened.problems()
    assert problem.file.endswith("b.yaml")
    opened.close()


def test_the_same_id_twice_keeps_the_first(bank, draft, cache):
    folder = bank(a=draft("a"))
    (folder / "sub").mkdir()
    (folder / "sub" / "a.yaml").write_text(draft("a"), encoding="utf-8")
    opened = open_bank(folder, cache)
    assert opened.ids() == ["a"]
    assert "is also the id of" in str(opened.problems()[0])
    opened.close()


def test_mending_the_first_of_two_equal_ids_brings_the_other_in(bank, draft, cache):
    folder = bank(a=draft("a"))
    (folder / "sub").mkdir()
    (folder / "sub" / "a.yaml").write_text(draft("a", "The second?"), encoding="utf-8")
    open_bank(folder, cache).close()
    (folder / "a.yaml").unlink()
    opened = open_bank(folder, cache)
    assert opened.question("a").prompt.en == "The second?"
    assert opened.problems() == []
    opened.close()


def test_unknown_id_suggests(bank, draft, cache):
    opened = open_bank(bank(kv_cache=draft("kv-cache")), cache)
    with pytest.raises(UserError, match="did you mean 'kv-cache'"):
        opened.question("kv-cahe")
    opened.close()


def test_no_such_folder(tmp_path, cache):
    with pytest.raises(UserError, match="no such folder"):
        open_bank(tmp_path / "nowhere", cache)


def test_new_questions_come_most_asked_first_after_what_they_need(bank, draft, cache):
    folder = bank(
        a=draft("a", more="asked: 3\n"),
        b=draft("b", more="asked: 9\nneeds: [c]\n"),
        c=draft("c", more="asked: 1\n"),
    )
    opened = open_bank(folder, cache)
    assert opened.ids() == ["c", "b", "a"]
    opened.close()


@pytest.mark.parametrize("damage", [b"not a database", b""])
def test_a_damaged_cache_is_made_anew(bank, draft, cache, damage):
    folder = bank(a=draft("a"))
    open_bank(folder, cache).close()
    (index,) = cache.glob("*.db")
    index.write_bytes(damage)
    opened = open_bank(folder, cache)
    assert opened.ids() == ["a"]
    opened.close()
    again = sqlite3.connect(index)
    assert again.execute("SELECT count(*) FROM question").fetchone() == (1,)
    again.close()


def test_a_cache_that_cannot_be_written_costs_only_time(bank, draft, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    opened = open_bank(bank(a=draft("a")), blocked / "cache")
    assert opened.ids() == ["a"]
    opened.close()


def test_keys_of_another_bank_begin_with_its_name(bank, draft, cache):
    opened = open_bank(bank(a=draft("a")), cache)
    assert opened.key("a") == "my-bank/a"
    assert opened.id_of("my-bank/a") == "a"
    assert opened.id_of("a") is None
    builtin = open_bank(content.questions_dir(), cache)
    assert builtin.key("kv-cache") == "kv-cache"
    assert builtin.id_of("my-bank/a") is None
    opened.close()
    builtin.close()


def test_a_second_start_imports_neither_yaml_nor_pydantic(bank, draft, cache):
    folder = bank(a=draft("a"))
    code = (
        "import sys; from pathlib import Path; from llmprep.bank.index import open_bank; "
        f"b = open_bank(Path({str(folder)!r}), Path({str(cache)!r})); b.question('a'); "
        "print(sorted({'yaml', 'pydantic', 'numpy', 'torch'} & set(sys.modules)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "ab"
    ]
    assert "pydantic" in runs[0]
    assert runs[1] == "[]\n"


def test_an_edit_in_place_is_seen_when_the_question_is_opened(bank, draft, cache, monkeypatch):
    from llmprep.bank import index

    monkeypatch.setattr(index, "MANY", 1)
    folder = bank(a=draft("a"), b=draft("b"))
    open_bank(folder, cache).close()
    folders = {folder: folder.stat().st_mtime_ns}
    (folder / "a.yaml").write_text(draft("a", "Edited in place?"), encoding="utf-8")
    os.utime(folder / "a.yaml", ns=(5, 5))
    assert {folder: folder.stat().st_mtime_ns} == folders
    opened = open_bank(folder, cache)
    assert opened.question("a").prompt.en == "Edited in place?"
    opened.close()
    bank(c=draft("c"))
    opened = open_bank(folder, cache)
    assert sorted(opened.new_ids()) == ["a", "b", "c"]
    opened.close()


def test_clusters_come_in_order_of_introduction(bank, draft, cache):
    folder = bank(a=draft("a", more="asked: 1\n"), b=draft("b", more="asked: 5\n"))
    opened = open_bank(folder, cache)
    assert list(opened.clusters()) == ["b", "a"]
    assert opened.clusters(["a", "gone"]) == {"a": "inference"}
    assert list(opened.new_ids("training")) == []
    opened.close()


def test_a_relative_folder_is_the_same_bank(bank, draft, cache, monkeypatch):
    folder = bank(a=draft("a"))
    monkeypatch.chdir(folder)
    for name in (folder, folder.relative_to(folder), folder / ".." / folder.name):
        opened = open_bank(name, cache)
        assert (opened.ids(), opened.name) == (["a"], "my-bank")
        opened.close()


def test_lock_files_of_editors_and_pipes_are_passed_over(bank, draft, cache):
    folder = bank(a=draft("a"))
    (folder / ".#a.yaml").symlink_to("me@host:1")
    os.mkfifo(folder / "pipe.yaml")
    opened = open_bank(folder, cache)
    assert opened.ids() == ["a"]
    opened.close()


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr("llmprep.bank.index.MANY", 2)


def edit(path, text):
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
    os.utime(path, ns=(1, 1))


def test_a_quick_start_sees_files_come_and_go(bank, draft, cache, large):
    folder = bank(a=draft("a"), b=draft("b"))
    open_bank(folder, cache, quick=True).close()
    bank(c=draft("c"))
    (folder / "b.yaml").unlink()
    opened = open_bank(folder, cache, quick=True)
    assert sorted(opened.ids()) == ["a", "c"]
    opened.close()


def test_a_quick_start_sees_a_new_folder(bank, draft, cache, large):
    folder = bank(a=draft("a"), b=draft("b"))
    open_bank(folder, cache, quick=True).close()
    (folder / "sub").mkdir()
    (folder / "sub" / "c.yaml").write_text(draft("c"), encoding="utf-8")
    opened = open_bank(folder, cache, quick=True)
    assert sorted(opened.ids()) == ["a", "b", "c"]
    opened.close()


def test_a_question_edited_in_place_is_asked_as_it_is_now(bank, draft, cache, large):
    folder = bank(a=draft("a"), b=draft("b"))
    open_bank(folder, cache).close()
    edit(folder / "a.yaml", draft("a", "Edited?"))
    opened = open_bank(folder, cache, quick=True)
    assert [e.prompt.en for e in opened.entries() if e.id == "a"] != ["Edited?"], "not looked at"
    assert opened.question("a").prompt.en == "Edited?"
    opened.close()


def test_a_question_broken_meanwhile_stays_as_it_was(bank, draft, cache, large):
    folder = bank(a=draft("a", "Whole?"), b=draft("b"))
    opened = open_bank(folder, cache)
    edit(folder / "a.yaml", "id: [\n")
    assert opened.question("a").prompt.en == "Whole?"
    opened.close()


def test_everything_else_looks_at_every_file(bank, draft, cache, large):
    folder = bank(a=draft("a"), b=draft("b"))
    open_bank(folder, cache).close()
    edit(folder / "a.yaml", draft("a", "Edited?"))
    opened = open_bank(folder, cache)
    assert [e.id for e in opened.search("edited")] == ["a"]
    opened.close()


def test_refresh_makes_up_for_a_quick_start(bank, draft, cache, large):
    folder = bank(a=draft("a"), b="id: [\n")
    open_bank(folder, cache).close()
    edit(folder / "b.yaml", draft("b"))
    opened = open_bank(folder, cache, quick=True)
    assert opened.ids() == ["a"]
    opened.refresh()
    assert sorted(opened.ids()) == ["a", "b"]
    opened.close()


def test_dot_lock_files_and_dead_links(bank, draft, cache, monkeypatch):
    folder = bank(a=draft("a"))
    (folder / ".#a.yaml").symlink_to("me@host.1")
    (folder / "gone.yaml").symlink_to("nowhere")
    monkeypatch.chdir(folder)
    opened = open_bank(Path(), cache)
    assert (opened.ids(), opened.problems()) == (["a"], [])
    opened.close()
