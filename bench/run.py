"""Every benchmark, as one table. Ratios are medians over a baseline measured by turns in the same run."""

from collections.abc import Iterator
from itertools import chain

from calc import calc
from measure import Row, main
from proof import proof
from startup import startup
from store import store


def everything(quick: bool) -> Iterator[Row]:
    """Start, store, prove, calculate."""
    return chain(startup(quick), store(quick), proof(quick), calc(quick))


if __name__ == "__main__":
    main(everything, __doc__ or "")
