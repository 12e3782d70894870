import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.bank import yaml12


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E+3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("1_000_000", 1_000_000),
        ("off", "off"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("12:30", "12:30"),
        ("0x10", "0x10"),
        ("2026-12-20", "2026-12-20"),
        ("'7'", "7"),
        ('"true"', "true"),
        ("1.2.3", "1.2.3"),
        ("float16", "float16"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    parsed = yaml12.parse(f"x: {text}").value["x"]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands twice"),
        ("a: &x [1]\nb: *x\n", 1, "anchor"),
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n", 1, "anchor"),
        ("a: !!python/object/apply:os.system ['true']\n", 1, "a tag"),
        ("a: 1\nb: !!int '3'\n", 2, "a tag"),
        ("a: [1, 2\n", 2, "not valid YAML"),
        ("a: b: c\n", 1, "not valid YAML"),
        ("a:\n\t- 1\n", 2, "not valid YAML"),
        ("", 1, "empty"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("? [1]\n: 2\n", 1, "a key that is not a word"),
        ("[" * 5000 + "]" * 5000, 1, "nested too deeply"),
        ("a: \x00\n", 1, "not valid YAML"),
    ],
    ids=[
        "duplicate",
        "alias",
        "bomb",
        "tag",
        "int-tag",
        "open",
        "colons",
        "tab",
        "empty",
        "documents",
        "key",
        "deep",
        "nul",
    ],
)
def test_refuses_with_a_line(text, line, says):
    with pytest.raises(yaml12.YamlError, match=says) as error:
        yaml12.parse(text)
    assert error.value.line == line


def test_refuses_a_huge_file_before_reading_it(tmp_path):
    path = tmp_path / "big.yaml"
    path.write_bytes(b"a: " + b"x" * 10_000_000)
    with pytest.raises(yaml12.YamlError, match="larger than"):
        yaml12.read(path)


@pytest.mark.parametrize(
    ("raw", "line"), [("a: 1\nb: 缓存\n".encode("gbk"), 2), (b"\xff\xfea\x00", 1)], ids=["gbk", "utf16"]
)
def test_refuses_other_encodings_with_the_line(tmp_path, raw, line):
    path = tmp_path / "gbk.yaml"
    path.write_bytes(raw)
    with pytest.raises(yaml12.YamlError, match="not UTF-8") as error:
        yaml12.read(path)
    assert error.value.line == line


def test_knows_the_line_of_every_value():
    document = yaml12.parse("a:\n  - x: 1\n    y: 2\nb: 3\n")
    assert document.line(("a", 0, "y")) == 3
    assert document.line(("b",)) == 4
    assert document.line(("a", 0, "z", "deeper")) == 2  # the nearest that encloses it


@given(st.text())
def test_never_anything_but_a_document_or_a_yaml_error(text):
    try:
        document = yaml12.parse(text)
    except yaml12.YamlError:
        return
    assert document.line(()) >= 1
