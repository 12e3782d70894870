import math
import random
from collections import Counter

import pytest

from llmprep.demos.architecture.nsp_shortcut import (
    COMMON_WORDS,
    TOPIC_WORDS,
    Params,
    accuracy,
    cosine,
    idf,
    labelled_pairs,
    run,
    segment,
    solve,
    zipf,
)


def test_cosine_by_hand_and_symmetric():
    a, b, even = Counter({1: 3, 2: 4}), Counter({1: 1}), dict.fromkeys(range(10), 1.0)
    assert cosine(a, b, even) == pytest.approx(3 / 5)
    assert cosine(a, b, {1: 2.0, 2: 1.0}) == pytest.approx(6 / math.sqrt(6**2 + 4**2))
    assert cosine(a, b, even) == cosine(b, a, even)
    assert cosine(a, Counter({9: 2}), even) == 0
    assert cosine(a, b, {}) == 0


def test_words_that_stand_everywhere_weigh_nothing():
    pairs = [((Counter({1: 5, 2: 1}), Counter({1: 1})), True), ((Counter({1: 2}), Counter({1: 1, 3: 1})), False)]
    assert idf(pairs) == pytest.approx({1: 0, 2: math.log(4), 3: math.log(4)})


def test_zipf_weights():
    assert zipf(3) == pytest.approx([1, 1.5, 1.5 + 1 / 3])


def test_segments_hold_their_own_topic_only():
    bag = segment(topic=3, n_words=200, topic_share=0.5, rng=random.Random(0))
    assert bag.total() == 200
    start = COMMON_WORDS + 3 * TOPIC_WORDS
    assert all(word < COMMON_WORDS or start <= word < start + TOPIC_WORDS for word in bag)
    assert 70 < sum(n for word, n in bag.items() if word >= COMMON_WORDS) < 130


@pytest.mark.parametrize("negatives", ["other document", "same topic", "swapped"])
def test_half_of_the_pairs_are_neighbours(negatives):
    pairs = labelled_pairs(negatives, 20, 0.3, random.Random(0))
    assert sum(label for _, label in pairs) * 2 == len(pairs)
    (true_a, true_b), (wrong_a, wrong_b) = pairs[0][0], pairs[1][0]
    if negatives == "swapped":
        assert (wrong_a, wrong_b) == (true_b, true_a)
    else:
        assert wrong_a == true_a
        assert wrong_b != true_b


def test_accuracy_by_hand():
    assert accuracy([(0.9, True), (0.1, False), (0.2, True), (0.8, False)], 0.5) == 0.5


def test_topic_is_all_it_takes():
    assert solve("other document", 100, 0.3, random.Random(1)) > 0.93
    assert solve("same topic", 100, 0.3, random.Random(1)) < 0.58
    assert solve("swapped", 100, 0.3, random.Random(1)) == 0.5


def test_without_topics_nothing_is_left():
    assert solve("other document", 100, 0.0, random.Random(0)) < 0.58


@pytest.mark.parametrize("negatives", ["other document", "same topic", "swapped"])
def test_facts_agree(negatives):
    assert all(f.agrees for f in run(Params(negatives, n_words=30)).facts)


@pytest.mark.parametrize("bad", [{"n_words": 1}, {"topic_share": 1.5}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
