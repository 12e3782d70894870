"""Which demos there are (read with `ast`, importing nothing) and how to load one."""

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from llmprep import content
from llmprep.errors import MissingExtraError, UserError, did_you_mean
from llmprep.lab.claim import Setting, Settings
from llmprep.lab.contract import Result


class DemoInfo(NamedTuple):
    """A demo as its docstring introduces it: `question` is the first line, `lesson` the argument below it."""

    id: str
    path: Path
    question: str
    lesson: str


class Demo(NamedTuple):
    """A demo that has been imported and can run."""

    info: DemoInfo
    Params: type
    run: Callable[[Any], Result]


@cache
def demos() -> dict[str, DemoInfo]:
    """Every built-in demo by id (`inference/kv_cache`), in cluster order."""
    found = {}
    for cluster in content.CLUSTERS.values():
        for path in sorted((content.demos_dir() / cluster.demo_folder).glob("*.py")):
            if path.stem != "__init__":
                info = read_info(f"{cluster.demo_folder}/{path.stem}", path)
                found[info.id] = info
    return found


def read_info(demo_id: str, path: Path) -> DemoInfo:
    """Question and lesson from the docstring; raises UserError if there is none."""
    try:
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable demo ({error})") from None
    if not doc:
        raise UserError(f"{path}: a demo starts with a docstring whose first line is the question it settles")
    question, _, lesson = doc.partition("\n")
    return DemoInfo(demo_id, path, question.strip(), lesson.strip())


@cache
def parameters(info: DemoInfo) -> dict[str, Setting]:
    """The fields of the demo's Params and their defaults, read without importing it."""
    for node in ast.parse(info.path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == "Params":
            fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
            return {n.target.id: ast.literal_eval(n.value) for n in fields if n.value}  # type: ignore[union-attr]
    raise UserError(f"{info.path}: a demo has a dataclass Params with a default for every field")


def canonical(info: DemoInfo, settings: Settings) -> str:
    """The name of a setting in the evidence: what differs from the defaults, `n_kv_heads=1 seq_len=4096`."""
    defaults = parameters(info)
    differing = {}
    for name, value in settings.items():
        default = defaults.get(name)
        same_type = float(value) if isinstance(default, float) and isinstance(value, int) else value
        if same_type != default:
            differing[name] = same_type
    return " ".join(f"{name}={differing[name]}" for name in sorted(differing))


@cache
def source_files(info: DemoInfo) -> list[Path]:
    """The demo and every llmprep source that it imports, directly or not."""
    seen: dict[Path, None] = {}
    todo = [info.path]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen[path] = None
        for module in imports(path):
            todo.extend(_module_files(module))
    return list(seen)


def libraries(info: DemoInfo) -> set[str]:
    """The third-party packages that the demo imports, directly or not."""
    names = {module.partition(".")[0] for path in source_files(info) for module in imports(path)}
    return {n for n in names if n not in sys.stdlib_module_names and n != "llmprep"}


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a source names in an import, and every name that it takes from one."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


@cache
def _module_files(module: str) -> list[Path]:
    head, _, rest = module.partition(".")
    if head != "llmprep" or not rest:
        return []
    base = content.PACKAGE / rest.replace(".", "/")
    return [p.resolve() for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()]


def find(name: str) -> DemoInfo:
    """The demo called `inference/kv_cache`, `kv_cache` where that is unique, or the file `path/to/demo.py`."""
    if name.endswith(".py") and Path(name).is_file():
        path = Path(name).resolve()
        known = {info.path.resolve(): info for info in demos().values()}
        return known.get(path) or read_info(path.stem, path)
    built_in = _built_in(name)
    if built_in:
        return built_in
    same_stem = [info for info in demos().values() if info.id.split("/")[1] == name.replace("-", "_")]
    if len(same_stem) == 1:
        return same_stem[0]
    hint = did_you_mean(name, [*demos(), *(i.split("/")[1] for i in demos())])
    raise UserError(f"no demo called {name!r}{hint} (llmprep demo list shows all)")


@cache
def _built_in(demo_id: str) -> DemoInfo | None:
    """One demo by its id, without reading all the others."""
    path = content.demos_dir() / f"{demo_id}.py"
    is_id = re.fullmatch(r"[a-z_]+/[a-z0-9_]+", demo_id)
    return read_info(demo_id, path) if is_id and not demo_id.endswith("__init__") and path.is_file() else None


def load(info: DemoInfo) -> Demo:
    """Import a demo. Raises MissingExtraError where it needs a library that is not installed."""
    try:
        module = _import(info)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("llmprep", ""):
            raise
        raise MissingExtraError(missing) from None
    return Demo(info, module.Params, module.run)


def _import(info: DemoInfo) -> ModuleType:
    if info.path.parent.parent == content.demos_dir():
        return importlib.import_module("llmprep.demos." + info.id.replace("/", "."))
    spec = importlib.util.spec_from_file_location(f"llmprep_demo_{info.id}", info.path)
    if spec is None or spec.loader is None:
        raise UserError(f"{info.path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module
