"""Run demos twice in this process and print, as JSON lines, what the contract tests look at."""

import contextlib
import io
import json
import random
import resource
import sys

from llmprep.lab import catalog
from llmprep.lab.evidence import result_to_plain


def random_state():
    state = [hash(random.getstate())]
    if "torch" in sys.modules:
        state.append(hash(sys.modules["torch"].random.get_rng_state().numpy().tobytes()))
    if "numpy" in sys.modules:
        state.append(hash(sys.modules["numpy"].random.get_state()[1].tobytes()))
    return state


def probe(demo):
    loaded = catalog.load(catalog.find(demo))
    defaults = {name: getattr(loaded.Params(), name) for name in loaded.Params.__dataclass_fields__}
    before = random_state()
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        one = result_to_plain(loaded.run(loaded.Params()))
        two = result_to_plain(loaded.run(loaded.Params()))
    return {
        "demo": demo,
        "defaults": defaults,
        "printed": out.getvalue(),
        "same": json.dumps(one) == json.dumps(two),
        "random_untouched": random_state() == before,
        "result": one,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


if __name__ == "__main__":
    for name in sys.argv[1:]:
        try:
            report = probe(name)
        except Exception as error:  # noqa: BLE001  the report is the failure
            report = {"demo": name, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(report), flush=True)
