import pytest

from llmprep import content
from llmprep.errors import MissingExtraError, UserError
from llmprep.lab import catalog, overrides


def params(demo, **settings):
    loaded = catalog.load(catalog.find(demo))
    return overrides.make_params(loaded.Params, settings, "--set")


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ({"x": "3"}, "x", 3),
        ({"x": 3.0}, "x", 3),
        ({"share": "1e-6"}, "share", 1e-6),
        ({"share": 1}, "share", 1.0),
        ({"how": "lie"}, "how", "lie"),
        ({"loud": "TRUE"}, "loud", True),
        ({"loud": False}, "loud", False),
    ],
)
def test_values_become_what_the_field_is(demo, settings, field, value):
    converted = getattr(params(demo, **settings), field)
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"y": "3"}, "no parameter 'y'"),
        ({"shar": "3"}, "did you mean 'share'"),
        ({"x": "three"}, "expected a whole number"),
        ({"x": "1.5"}, "expected a whole number"),
        ({"x": 1.5}, "expected a whole number"),
        ({"x": True}, "expected a whole number"),
        ({"share": "much"}, "expected a number"),
        ({"how": "louder"}, "expected one of add, lie"),
        ({"loud": "yes"}, "expected true or false"),
        ({"x": "-1"}, "x must not be negative"),
    ],
)
def test_wrong_values_say_what_is_expected(demo, settings, says):
    with pytest.raises(UserError, match=says):
        params(demo, **settings)


@pytest.mark.parametrize("pair", ["x", "=3", ""])
def test_pairs_need_an_equals_sign(pair):
    with pytest.raises(UserError, match="NAME=VALUE"):
        overrides.parse_pairs([pair])


def test_parameters_are_read_without_importing(demo):
    assert catalog.parameters(catalog.find(demo)) == {"x": 2, "share": 0.5, "how": "add", "loud": False}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, ""),
        ({"x": 2}, ""),
        ({"x": 3, "how": "lie"}, "how=lie x=3"),
        ({"share": 1}, "share=1.0"),
        ({"x": 2, "loud": True}, "loud=True"),
    ],
)
def test_a_setting_is_named_by_what_differs_from_the_defaults(demo, settings, name):
    assert catalog.canonical(catalog.find(demo), settings) == name


def test_find_by_id_name_hyphens_and_path():
    info = catalog.find("inference/kv_cache")
    assert catalog.find("kv_cache") == catalog.find("kv-cache") == catalog.find(str(info.path)) == info


def test_a_file_that_is_no_demo(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("x = 1\n")
    with pytest.raises(UserError, match="docstring"):
        catalog.find(str(path))
    path.write_text("def broken(:\n")
    with pytest.raises(UserError, match="not a readable demo"):
        catalog.find(str(path))


def test_a_missing_library_names_the_command(tmp_path):
    path = tmp_path / "needs.py"
    path.write_text('"""Is it there?\n\nNo."""\nimport a_library_that_is_not_there\n')
    with pytest.raises(MissingExtraError, match="pip install a_library_that_is_not_there"):
        catalog.load(catalog.find(str(path)))


def test_sources_of_a_demo_are_the_llmprep_files_it_imports():
    names = {p.name for p in catalog.source_files(catalog.find("kv_cache"))}
    assert {"kv_cache.py", "contract.py", "content.py"} <= names
    assert "judge.py" not in names
    assert "torch" in catalog.libraries(catalog.find("kv_cache"))


@pytest.mark.parametrize(
    ("kind", "name", "hint"), [("model", "llama3-8b", "llama-3-8b"), ("hardware", "h100", "h100-")]
)
def test_unknown_model_or_chip_suggests(kind, name, hint):
    with pytest.raises(UserError, match=f"did you mean '{hint}"):
        getattr(content, kind)(name)
