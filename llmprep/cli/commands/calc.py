"""`llmprep calc`: parameters, FLOPs, memory, KV cache, serving and training of any config.json."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from llmprep.cli.context import Context
from llmprep.errors import UserError

calc_app = typer.Typer(
    help="The arithmetic of an interview, from a model's name or any Hugging Face config.json.\n\n"
    "Example: llmprep calc params llama-3-8b --explain",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(calc_app, name="calc")
    for command, help_text in (
        (params, "Parameters, part by part.\n\nExample: llmprep calc params --config ./config.json --explain"),
        (
            flops,
            "FLOPs of a token, a prompt, a training step.\n\nExample: llmprep calc flops llama-3-8b --seq-len 8192",
        ),
        (memory, "Bytes to serve a model, in every format.\n\nExample: llmprep calc memory qwen3-8b --gpu rtx-4090"),
        (kv, "The KV cache, per token and per request.\n\nExample: llmprep calc kv --compare llama-3-8b deepseek-v3"),
        (serve, "Requests, latency and cost.\n\nExample: llmprep calc serve llama-3-70b --gpu h100-sxm --gpus 4"),
        (train, "Memory, layout, time of training.\n\nExample: llmprep calc train llama-13b --gpu a100-80gb --gpus 8"),
        (models, "The models and the GPUs known by name.\n\nExample: llmprep calc models"),
    ):
        calc_app.command(help=help_text)(command)


def complete_model(incomplete: str) -> list[str]:
    """Names of data/models.json."""
    from llmprep import content

    return [m["name"] for m in content.load_json("models.json")["models"] if m["name"].startswith(incomplete)]


def complete_hardware(incomplete: str) -> list[str]:
    """Names of data/hardware.yaml."""
    from llmprep import content

    return [h["name"] for h in content.load_yaml("hardware.yaml") if h["name"].startswith(incomplete)]


Names = Annotated[
    list[str] | None, typer.Argument(metavar="[MODEL]...", help="As --model.", autocompletion=complete_model)
]
Configs = Annotated[
    list[Path] | None,
    typer.Option("--config", metavar="PATH", help="A config.json or its folder; may be repeated."),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="NAME", help="See calc models; may be repeated.", autocompletion=complete_model),
]
Compare = Annotated[bool, typer.Option("--compare", help="Several models side by side: --compare a b c.")]
Explain = Annotated[bool, typer.Option("--explain", help="Show how each number comes about.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, in bytes, seconds and FLOPs.")]
SeqLen = Annotated[int | None, typer.Option("--seq-len", metavar="TOKENS", help="Tokens of a sequence.")]
Batch = Annotated[int, typer.Option(help="Sequences at a time.")]
Dtype = Annotated[str, typer.Option(help="Format of the weights: bf16, fp8, int4-g128, nf4-dq, q4_k …")]
KvDtype = Annotated[str, typer.Option(help="Format of the cache: bf16, fp8, int8, int4.")]
GpuNames = Annotated[
    list[str] | None,
    typer.Option("--gpu", help="See calc models; may be repeated.", autocompletion=complete_hardware),
]
Gpu = Annotated[str, typer.Option("--gpu", help="See calc models.", autocompletion=complete_hardware)]


@dataclass(frozen=True)
class Request:
    """What every calc command is asked for: which models, and how to show them."""

    names: list[str] | None
    configs: list[Path] | None
    models: list[str] | None
    compare: bool
    explain: bool
    as_json: bool

    def subjects(self) -> list[tuple[Any, str]]:
        """(shape, name) for each model, in the order model names, then files."""
        from llmprep.calc import families

        names = [*(self.names or []), *(self.models or [])]
        chosen = [(families.of(name), name) for name in names]
        chosen += [(families.from_file(path), _label(path)) for path in self.configs or []]
        if not chosen:
            raise UserError("which model? give a name (llmprep calc models lists them) or --config PATH")
        if self.compare and len(chosen) == 1:
            raise UserError("--compare needs at least two models")
        return chosen


def _label(path: Path) -> str:
    """What to call a config: the folder that holds it, unless that says nothing."""
    folder = path if path.is_dir() else path.parent
    name = folder.resolve().name
    return name if path.is_dir() or path.name == "config.json" else path.stem


def _answer(context: typer.Context, request: Request, sheet: Callable[..., Any], **options: Any) -> None:
    """Calculate for every model, then print."""
    world: Context = context.obj
    sheets = [sheet(shape, subject, **options) for shape, subject in request.subjects()]
    if request.as_json:
        data = [s.data for s in sheets]
        print(json.dumps(data if request.compare or data[1:] else data[0], ensure_ascii=False, indent=1))
        return
    from llmprep.cli.render import calc as render

    if len(sheets) > 1:
        render.show_comparison(sheets, world.ui)
    else:
        render.show_sheet(sheets[0], world.ui, explain=request.explain)


def params(
    context: typer.Context,
    names: Names = None,
    config: Configs = None,
    model: Models = None,
    compare: Compare = False,
    explain: Explain = False,
    as_json: Json = False,
) -> None:
    """Count parameters."""
    from llmprep.calc.sheets import params as sheets

    _answer(context, Request(names, config, model, compare, explain, as_json), sheets.sheet)


def flops(
    context: typer.Context,
    names: Names = None,
    config: Configs = None,
    model: Models = None,
    seq_len: SeqLen = None,
    batch: Batch = 1,
    compare: Compare = False,
    explain: Explain = False,
    as_json: Json = False,
) -> None:
    """Count FLOPs."""
    from llmprep.calc.sheets import flops as sheets

    request = Request(names, config, model, compare, explain, as_json)
    _answer(context, request, sheets.sheet, seq_len=seq_len, batch=batch)


def memory(
    context: typer.Context,
    names: Names = None,
    config: Configs = None,
    model: Models = None,
    gpu: GpuNames = None,
    dtype: Annotated[list[str] | None, typer.Option(help="Only these formats of the weights; may be repeated.")] = None,
    seq_len: SeqLen = None,
    batch: Batch = 1,
    kv_dtype: KvDtype = "bf16",
    compare: Compare = False,
    explain: Explain = False,
    as_json: Json = False,
) -> None:
    """Weigh a model for inference."""
    from llmprep.calc.sheets import memory as sheets

    request = Request(names, config, model, compare, explain, as_json)
    options = {"dtypes": dtype, "seq_len": seq_len, "batch": batch, "kv_dtype": kv_dtype, "gpus": gpu}
    _answer(context, request, sheets.sheet, **options)


def kv(
    context: typer.Context,
    names: Names = None,
    config: Configs = None,
    model: Models = None,
    seq_len: SeqLen = None,
    batch: Batch = 1,
    kv_dtype: KvDtype = "bf16",
    compare: Compare = False,
    explain: Explain = False,
    as_json: Json = False,
) -> None:
    """Weigh the cache."""
    from llmprep.calc.sheets import kv as sheets

    request = Request(names, config, model, compare, explain, as_json)
    _answer(context, request, sheets.sheet, seq_len=seq_len, batch=batch, kv_dtype=kv_dtype)


def serve(
    context: typer.Context,
    names: Names = None,
    config: Configs = None,
    model: Models = None,
    gpu: Gpu = "h100-sxm",
    gpus: Annotated[int | None, typer.Option(help="GPUs of one replica; the fewest that hold it by default.")] = None,
    dtype: Dtype = "bf16",
    kv_dtype: KvDtype = "bf16",
    prompt_tokens: Annotated[int, typer.Option("--prompt", metavar="TOKENS", help="Of each request.")] = 1024,
    new_tokens: Annotated[int, typer.Option("--new", metavar="TOKENS", help="Of each request.")] = 512,
    batch: Annotated[int | None, typer.Option(help="Requests at a time; as many as fit by default.")] = None,
    price: Annotated[float | None, typer.Option(help="USD for a GPU and hour; a range by default.")] = None,
    compare: Compare = False,
    explain: Explain = False,
    as_json: Json = False,
) -> None:
    """Plan a replica that serves."""
    from llmprep.calc.sheets import serve as sheets

    request = Request(names, config, model, compare, explain, as_json)
    _answer(
        context,
        request,
        sheets.sheet,
        gpu=gpu,
        n_gpus=gpus,
        dtype=dtype,
        kv_dtype=kv_dtype,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        batch=batch,
        price=price,
    )


def train(
    context: typer.Context,
    names: Names = None,
    config: Configs = None,
    model: Models = None,
    gpu: Gpu = "a100-80gb",
    gpus: Annotated[
        int | None, typer.Option(help="GPUs in all; by default as many as finish in about a month.")
    ] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens to train on, such as 260e9.")] = None,
    method: Annotated[str, typer.Option(metavar="full|lora|qlora", help="What is trained.")] = "full",
    rank: Annotated[int, typer.Option(help="Of LoRA.")] = 16,
    targets: Annotated[str, typer.Option(metavar="qv|attention|all-linear", help="Of LoRA.")] = "all-linear",
    recipe: Annotated[
        str, typer.Option(metavar="RECIPE", help="mixed, mixed-fp32-grads, fp32, bf16, mixed-adam8bit, bf16-adam32.")
    ] = "mixed",
    zero: Annotated[int | None, typer.Option(help="ZeRO stage, 0 to 3; chosen by default.")] = None,
    recompute: Annotated[
        str | None, typer.Option(metavar="none|selective|full", help="Of activations; chosen by default.")
    ] = None,
    tp: Annotated[int | None, typer.Option("--tp", help="Tensor parallel; chosen by default.")] = None,
    pp: Annotated[int | None, typer.Option("--pp", help="Pipeline parallel; chosen by default.")] = None,
    sequence_parallel: Annotated[
        bool | None, typer.Option("--sp/--no-sp", help="Sequence parallel, with --tp; chosen by default.")
    ] = None,
    micro_batch: Annotated[int | None, typer.Option(help="Sequences on a GPU at a time; chosen by default.")] = None,
    seq_len: SeqLen = None,
    global_batch_tokens: Annotated[int | None, typer.Option(metavar="TOKENS", help="Of one optimiser step.")] = None,
    mfu: Annotated[float | None, typer.Option(help="Share of the peak, such as 0.45; a range by default.")] = None,
    price: Annotated[float | None, typer.Option(help="USD for a GPU and hour; a range by default.")] = None,
    compare: Compare = False,
    explain: Explain = False,
    as_json: Json = False,
) -> None:
    """Plan a training run."""
    from llmprep.calc.sheets import train as sheets

    request = Request(names, config, model, compare, explain, as_json)
    _answer(
        context,
        request,
        sheets.sheet,
        gpu=gpu,
        gpus=gpus,
        tokens=tokens,
        method=method,
        rank=rank,
        targets=targets,
        recipe=recipe,
        zero=zero,
        recompute=recompute,
        tp=tp,
        pp=pp,
        sequence_parallel=sequence_parallel,
        micro_batch=micro_batch,
        seq_len=seq_len,
        global_batch_tokens=global_batch_tokens,
        mfu=mfu,
        price=price,
    )


def models(as_json: Json = False) -> None:
    """List what has a name."""
    from llmprep import content

    known = content.load_json("models.json")["models"]
    hardware = content.load_yaml("hardware.yaml")
    if as_json:
        plain = [{k: m[k] for k in ("name", "model_type", "params_total", "source") if k in m} for m in known]
        print(json.dumps({"models": plain, "hardware": hardware}, ensure_ascii=False, indent=1))
        return
    from llmprep.cli.render.calc import show_known

    show_known(known, hardware)
