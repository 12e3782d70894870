"""A device of data/hardware.yaml: what it holds, moves and computes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmprep import content
from llmprep.calc import options
from llmprep.errors import UserError

MEMORY_SHARE = 0.9  # of a device's memory that weights, cache and workspace may fill (vLLM's default as well)
WORKSPACE = 1e9  # bytes on each device for activations of a chunk of prompt, CUDA graphs, buffers: an assumption


@dataclass(frozen=True)
class Gpu:
    """Data sheet figures: bytes, bytes/s, dense FLOP/s by format; `link` is bytes/s to its peers, one direction."""

    name: str
    memory: float
    bandwidth: float
    flops: Mapping[str, float]
    link: float | None
    source: str

    def peak(self, kinds: Sequence[str]) -> tuple[str, float]:
        """The first of `kinds` that the device computes in, and its dense peak; FP16 stands for BF16 and back."""
        if list(kinds) == ["fp32"] and "fp32" not in self.flops:
            raise UserError(f"--dtype fp32: data/hardware.yaml has no FP32 peak of {self.name}; take bf16 or fp16")
        wanted = [*kinds, "bf16", "fp16", "fp32"]
        for kind in wanted:
            if kind in self.flops:
                return kind, self.flops[kind]
        raise UserError(f"data/hardware.yaml: {self.name} has no peak for {', '.join(wanted)}")

    def usable(self, memory_share: float = MEMORY_SHARE, workspace: float = WORKSPACE) -> float:
        """Bytes for weights and cache."""
        return max(0.0, self.memory * memory_share - workspace)


def find(name: str, option: str = "--gpu") -> Gpu:
    """A device by name. Raises UserError that names the option and lists the known ones."""
    table = {entry["name"]: entry for entry in content.load_yaml("hardware.yaml")}
    entry = table[options.known(option, name, "hardware", table)]
    return Gpu(name, entry["memory"], entry["bandwidth"], entry["flops"], entry.get("link"), entry["source"])
