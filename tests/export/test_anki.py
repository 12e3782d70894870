"""The package, read back by Anki itself."""

import dataclasses
import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from llmprep import content
from llmprep.bank.index import open_bank
from llmprep.bank.types import Answer, KeyPoint, Pitfall, Question
from llmprep.content import Text
from llmprep.export import anki
from llmprep.export.anki import FIELDS, SPARE_FIELDS, package

collection = pytest.importorskip("anki.collection")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
HOSTILE = '<s> {{c1::cloze}} {{Front}} List<T> a & b \\(x\\) <script>alert(1)</script> "q" 🙂 `</code>` [sound:x.mp3]'


@pytest.fixture
def questions(tmp_path):
    bank = open_bank(content.questions_dir(), tmp_path / "cache")
    found = list(bank.questions())
    bank.close()
    return found


@pytest.fixture
def col(tmp_path):
    opened = collection.Collection(str(tmp_path / "collection.anki2"))
    yield opened
    opened.close()


@pytest.fixture
def bring(col, tmp_path, stored):
    """Export and import: `bring(questions, lang="en", bank="", after=0)`, the time moved on by `after` seconds."""

    def do(questions, lang="en", bank="", after=0):
        path = tmp_path / "x.apkg"
        path.write_bytes(package(questions, stored, lang=lang, bank=bank, now=NOW + timedelta(seconds=after)))
        request = collection.ImportAnkiPackageRequest(package_path=str(path))
        return col.import_anki_package(request).log

    return do


def note_of(col, key):
    (note_id,) = col.find_notes(f'Key:"{key}"')
    return col.get_note(note_id)


def shown(html):
    """The text that a reader sees."""
    import html as h

    return h.unescape(re.sub(r"<!--.*?-->|<[^>]+>", "", html))


def hostile(question_id="hostile", long=""):
    text = Text(HOSTILE + long, HOSTILE + long)
    return Question(
        id=question_id,
        cluster="inference",
        prompt=text,
        answer=Answer(text, text, text),
        key_points=(KeyPoint("a", text, text, must=True),),
        pitfalls=(Pitfall(text, text),),
        tags=("two words", "x"),
    )


@pytest.mark.parametrize("lang", ["en", "zh", "both"])
def test_every_note_and_field_arrives(col, bring, questions, stored, lang):
    log = bring(questions, lang)
    assert len(log.new) == len(questions)
    for question in questions:
        note = note_of(col, question.id)
        assert list(note.keys()) == [*FIELDS, *SPARE_FIELDS]
        expected = anki.fields(question, stored, lang, "")
        assert [note[name] for name in FIELDS] == expected
        assert all(expected), f"{question.id} has an empty field"
        assert sorted(note.tags) == sorted(anki.tags(question))


def test_every_card_renders(col, bring, questions):
    bring(questions, "both")
    cards = [col.get_card(i) for i in col.find_cards("")]
    assert len(cards) == len(questions)
    for card in cards:
        front, back = card.question(), card.answer()
        assert "{{" not in front + back
        assert 'id="answer"' in back
        assert card.note()["Question"] in front
        assert card.note()["Question"] in back


def test_decks_are_clusters_and_numbers_are_measured(col, bring, questions):
    bring(questions, "en")
    names = {d.name for d in col.decks.all_names_and_ids()}
    assert {"llmprep", "llmprep::03 inference"} <= names
    assert "131,072 B per token" in shown(note_of(col, "kv-cache")["Evidence"])


def test_an_edit_updates_the_note_and_keeps_its_schedule(col, bring, questions):
    bring(questions)
    note = note_of(col, "kv-cache")
    deck = col.decks.id_for_name("llmprep::03 inference")
    col.decks.select(deck)
    col.sched.reset() if hasattr(col.sched, "reset") else None
    card = col.sched.getCard()
    card.start_timer()
    col.sched.answerCard(card, 4)
    before = {c: (col.get_card(c).due, col.get_card(c).ivl, col.get_card(c).reps) for c in col.find_cards("")}
    assert any(reps for _, _, reps in before.values())
    edited = [dataclasses.replace(q, prompt=Text(q.prompt.en + " Edited.", q.prompt.zh)) for q in questions]
    log = bring(edited, after=2)
    assert (len(log.new), len(log.updated)) == (0, len(questions))
    assert col.note_count() == len(questions)
    assert note_of(col, "kv-cache").id == note.id
    assert "Edited." in note_of(col, "kv-cache")["Question"]
    assert {c: (col.get_card(c).due, col.get_card(c).ivl, col.get_card(c).reps) for c in col.find_cards("")} == before


def test_the_same_export_again_duplicates_nothing(col, bring, questions):
    bring(questions)
    for after in (0, 5):
        assert len(bring(questions, after=after).new) == 0
    assert col.note_count() == len(questions)


def test_another_language_is_the_same_note(col, bring, questions):
    bring(questions, "en")
    bring(questions, "zh", after=5)
    assert col.note_count() == len(questions)
    assert "缓存" in note_of(col, "kv-cache")["Evidence"]


def test_banks_with_the_same_id_do_not_collide(col, bring, questions):
    kv = [q for q in questions if q.id == "kv-cache"]
    bring(kv)
    bring(kv, bank="mine", after=5)
    assert col.note_count() == 2
    assert note_of(col, "mine/kv-cache").id != note_of(col, "kv-cache").id


def test_hostile_text_comes_out_as_it_went_in(col, bring):
    bring([hostile()], "both")
    note = note_of(col, "hostile")
    visible = HOSTILE.replace("`", "")
    for name in ("Question", "Answer", "Points", "Pitfalls"):
        assert visible in shown(note[name]), name
        assert "<script" not in note[name]
    (card_id,) = col.find_cards("Key:hostile")
    back = shown(col.get_card(card_id).answer())
    assert back.count("{{c1::cloze}}") >= 5
    assert set(note.tags) >= {"llmprep::topic::two-words", "llmprep::topic::x"}


def test_ten_thousand_characters(col, bring):
    bring([hostile(long="字" * 10_000)])
    assert "字" * 10_000 in note_of(col, "hostile")["Answer"]


def test_a_draft_says_that_it_is_unmeasured(col, bring):
    draft = Question("d", "inference", Text("", "只有中文？"), Answer(Text("", "是的。")))
    bring([draft], "en", bank="mine")
    note = note_of(col, "mine/d")
    assert "只有中文？" in note["Question"]
    assert "unmeasured" in note["Evidence"]


def test_the_same_input_gives_the_same_notes(questions, stored):
    ids = [(anki.guid(q, ""), anki.fields(q, stored, "en", "")) for q in questions]
    assert ids == [(anki.guid(q, ""), anki.fields(q, stored, "en", "")) for q in questions]
    assert len({i for i, _ in ids}) == len(questions)


def test_takes_no_time_from_the_clock(col, bring, questions):
    bring(questions)
    modified = {col.get_note(i).mod for i in col.find_notes("")}
    assert all(m <= time.time() + 1 for m in modified)
