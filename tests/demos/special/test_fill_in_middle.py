import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.special.fill_in_middle import EOT, MID, PRE, SUF, Params, arrange, cut, restore, run

FILES = st.text(max_size=60).map(lambda text: [ord(c) for c in text])


@given(document=FILES, seed=st.integers(0, 999), order=st.sampled_from(["psm", "spm"]))
def test_every_file_can_be_put_together_again(document, seed, order):
    prefix, middle, suffix = cut(document, random.Random(seed))
    assert prefix + middle + suffix == document
    assert restore(arrange(prefix, middle, suffix, order)) == document


def test_orders_of_the_paper():
    prefix, middle, suffix = [1, 2], [3], [4, 5]
    assert arrange(prefix, middle, suffix, "psm") == [PRE, 1, 2, SUF, 4, 5, MID, 3, EOT]
    assert arrange(prefix, middle, suffix, "spm") == [PRE, SUF, 4, 5, MID, 1, 2, 3, EOT]


def test_the_middle_comes_last_so_that_it_can_be_generated():
    sample = arrange([1], [2, 3], [4], "psm")
    assert sample[sample.index(MID) + 1 : -1] == [2, 3]


@given(document=FILES)
def test_an_untouched_file_stays_as_it_is(document):
    assert restore([*document, EOT]) == document


def test_cuts_reach_both_ends():
    rng = random.Random(0)
    parts = [cut([1, 2, 3], rng) for _ in range(400)]
    assert any(not prefix and not suffix for prefix, _, suffix in parts)
    assert any(not middle for _, middle, _ in parts)


def test_without_sentinels_files_are_lost():
    assert run(Params(order="no sentinels")).fact("lost").measured > 500
    assert run(Params(fim_rate=1.0)).fact("extra_tokens").measured == 6000


@pytest.mark.parametrize("wrong", [{"fim_rate": 1.1}, {"n_documents": 10}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
