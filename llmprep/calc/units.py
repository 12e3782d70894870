"""Quantities as people write them. GB is 10⁹ bytes and GiB 2³⁰: the two are never mixed."""

_SI = ((1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_BINARY = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
_SHORT = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"), (1.0, ""))  # of things that are counted


def digits(value: float) -> str:
    """At least three significant digits, and no more decimals than they need: 16.1, 131, 1,024, 0.0621."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 0.1 else f"{value:.{1 if abs(value) >= 9.995 else 2}f}"


def si(value: float, unit: str) -> str:
    """With an SI prefix: 16.1 GB, 312 TFLOP/s."""
    scale, prefix = next(((s, p) for s, p in _SI if abs(value) >= 0.9995 * s), (1.0, ""))
    return f"{digits(value / scale)} {prefix}{unit}"


def binary(value: float) -> str:
    """Bytes with a binary prefix: 15.0 GiB."""
    scale, unit = next(((s, u) for s, u in _BINARY if abs(value) >= s), (1, "B"))
    return f"{digits(value / scale)} {unit}"


def short(value: float) -> str:
    """A count as a model card has it: 8.03B parameters."""
    scale, suffix = next(((s, p) for s, p in _SHORT if abs(value) >= 0.9995 * s), (1.0, ""))
    return f"{digits(value / scale)}{suffix}"


def seconds(value: float) -> str:
    """A time in the unit that suits it: 3.2 ms, 45 s, 2.5 h, 27.5 days."""
    if value < 1:
        return f"{digits(value * 1e3)} ms" if value >= 1e-3 or value == 0 else f"{digits(value * 1e6)} µs"
    for scale, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if value >= 2 * scale:
            return f"{digits(value / scale)} {unit}"
    return f"{digits(value)} s"
