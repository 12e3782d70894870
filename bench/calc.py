"""How quick the calculator is: each command beside the bare `llmprep`, and thousands of configs in one process."""

import time
from collections.abc import Iterator
from itertools import cycle, islice

from measure import LLMPREP, Row, Spent, environment, folder, main, medians, over, rounds, whole

from llmprep import content
from llmprep.calc import families, params

COMMANDS = ("params", "flops", "memory", "kv", "serve", "train")
CONFIGS = 10_000


def calc(quick: bool) -> Iterator[Row]:
    """Six commands on one model; then every known config over and over."""
    with folder() as work:
        env = environment(work)
        commands = [[*LLMPREP, "calc", name, "llama-3-8b"] for name in COMMANDS]
        works = [lambda c=command: whole(c, env) for command in ([*LLMPREP], *commands)]
        bare, *each = medians(rounds(5 if quick else 15, *works))
    for name, spent in zip(COMMANDS, each, strict=True):
        yield Row(f"llmprep calc {name}", over(spent, bare), target=1.5)
    known = [(m["config"], m["model_type"]) for m in content.load_json("models.json")["models"]]
    known = [(config, family) for config, family in known if family in families.FAMILIES]
    wall, cpu = time.perf_counter(), time.process_time()
    for config, family in islice(cycle(known), CONFIGS):
        params.total(families.shape(config, family))
    spent = Spent(time.perf_counter() - wall, time.process_time() - cpu)
    yield Row(f"counting {CONFIGS:,} configs of {len(known)} models", spent, "s", CONFIGS / 2000, by="wall")


if __name__ == "__main__":
    main(calc, __doc__ or "")
