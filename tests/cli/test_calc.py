"""The calculator as a process: what it prints, in both languages, and what it says of bad input."""

import json

import pytest

COMMANDS = ("params", "flops", "memory", "kv", "serve", "train")


@pytest.fixture
def config(tmp_path):
    def write(**changes):
        fields = {
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 100,
            **changes,
        }
        path = tmp_path / "my-model" / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(fields), encoding="utf-8")
        return str(path)

    return write


def test_the_total_is_a_whole_number(run):
    done = run("calc", "params", "--model", "llama-3-8b", "--json", bank=None)
    assert json.loads(done.stdout)["total"] == 8_030_261_248


def test_a_config_is_named_by_its_folder(run, config):
    done = run("calc", "params", "--config", config(), "--json", bank=None)
    answer = json.loads(done.stdout)
    d, ff, vocab = 64, 128, 100
    assert answer["model"] == "my-model"
    assert answer["total"] == 2 * vocab * d + 2 * (4 * d * d + 3 * d * ff + 2 * d) + d


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("lang", "columns"), [("en", "80"), ("zh", "60")])
def test_every_command_answers_within_the_width(run, command, lang, columns):
    from rich.cells import cell_len

    done = run("--lang", lang, "calc", command, "llama-3-8b", "--explain", bank=None, COLUMNS=columns)
    assert (done.returncode, done.stderr) == (0, "")
    assert "llama-3-8b" in done.stdout
    assert max(cell_len(line) for line in done.stdout.splitlines()) <= int(columns)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_json_and_compares(run, command):
    one = json.loads(run("calc", command, "llama-3-8b", "--json", bank=None).stdout)
    assert one["model"] == "llama-3-8b"
    many = json.loads(run("calc", command, "--json", "--compare", "llama-3-8b", "qwen3-8b", bank=None).stdout)
    assert [m["model"] for m in many] == ["llama-3-8b", "qwen3-8b"]
    assert many[0] == one
    table = run("calc", command, "--compare", "llama-3-8b", "qwen3-8b", bank=None).stdout
    assert "llama-3-8b" in table
    assert "qwen3-8b" in table


def test_explain_shows_the_terms(run):
    short, long = (run("calc", "params", "gpt2", *more, bank=None).stdout for more in ([], ["--explain"]))
    assert "12 × (d × d_ff) = 12 × 768 × 3,072" in long
    assert "768 × 3,072" not in short
    assert "28,311,552" in long


def test_known_names_are_listed(run):
    done = run("calc", "models", bank=None)
    assert "llama-3-8b" in done.stdout
    assert "8,030,261,248" in done.stdout
    assert "h100-sxm" in done.stdout
    answer = json.loads(run("calc", "models", "--json", bank=None).stdout)
    assert {"models", "hardware"} == set(answer)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["params"], "which model?"),
        (["params", "lama-3-8b"], "did you mean 'llama-3-8b'"),
        (["params", "--compare", "gpt2"], "at least two models"),
        (["params", "--config", "/no/such/config.json"], "/no/such/config.json: no such file"),
        (["kv", "gpt2", "--seq-len", "0"], "--seq-len"),
        (["kv", "gpt2", "--batch", "-1"], "--batch"),
        (["kv", "gpt2", "--kv-dtype", "fp7"], "--kv-dtype"),
        (["memory", "gpt2", "--dtype", "int3000"], "--dtype"),
        (["memory", "gpt2", "--gpu", "h10"], "--gpu"),
        (["serve", "gpt2", "--gpu", "h100-smx"], "did you mean 'h100-sxm'"),
        (["serve", "gpt2", "--gpus", "0"], "--gpus"),
        (["serve", "llama-3-8b", "--gpus", "3"], "--gpus"),
        (["serve", "gpt2", "--prompt", "0"], "--prompt"),
        (["train", "gpt2", "--gpus", "0"], "--gpus"),
        (["train", "gpt2", "--zero", "4"], "--zero"),
        (["train", "gpt2", "--method", "dora"], "--method"),
        (["train", "gpt2", "--recipe", "fp64"], "--recipe"),
        (["train", "gpt2", "--mfu", "1.5"], "--mfu"),
        (["train", "llama-3-8b", "--gpus", "8", "--tp", "3"], "--tp"),
        (["train", "gpt2", "--tokens", "-1"], "--tokens"),
        (["train", "gpt2", "--tokens", "1e308"], "--tokens must be above 0 and at most 1e+18"),
        (["train", "gpt2", "--price", "1e308"], "--price"),
        (["train", "gpt2", "--mfu", "1e-300"], "--mfu"),
        (["train", "gpt2", "--method", "lora", "--rank", "1000000"], "--rank must be at most 768"),
        (["serve", "llama-3-8b", "--gpus", "9999999999999"], "--gpus must be at most 1,024"),
        (["serve", "llama-3-8b", "--dtype", "fp32"], "no FP32 peak"),
        (["kv", "gpt2", "--batch", "1" + "0" * 310], "--batch must be at most"),
        (["serve", "gpt2", "--gpu", "H100-SXM"], "did you mean 'h100-sxm'"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line(run, arguments, says):
    done = run("calc", *arguments, bank=None)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("llmprep: ")
    assert says in done.stderr


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_attention_heads": 5}, "hidden_size 64 is not divisible by num_attention_heads 5"),
        ({"num_hidden_layers": -2}, "num_hidden_layers must be a positive whole number, not -2"),
        ({"model_type": None, "_class_name": "UNet2DConditionModel"}, "diffusers UNet2DConditionModel"),
        ({"model_type": "whatever"}, "'whatever' is not a family"),
        ({"num_hidden_layers": 10**18}, "num_hidden_layers must be at most 10,000"),
        ({"hidden_size": 10**300}, "hidden_size must be at most 1,000,000,000"),
    ],
)
def test_a_bad_config_names_file_and_field(run, config, changes, says):
    path = config(**changes)
    done = run("calc", "params", "--config", path, bank=None)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"llmprep: {path}: ")
    assert says in done.stderr


def test_neither_torch_nor_numpy_is_loaded(run):
    done = run("calc", "train", "llama-13b", bank=None, PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "llmprep.calc.training" in loaded
    assert not loaded & {"torch", "numpy", "pydantic"}
