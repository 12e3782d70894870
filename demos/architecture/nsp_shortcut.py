"""Can next-sentence prediction be solved without knowing what follows what?

BERT's second task shows two segments, half of the time neighbours from one document, half of the time the second one
from another document, and asks which it is. But another document mostly has another topic, so weighing shared words is
enough: a bag of words, blind to order and to meaning, gets nearly everything right. ALBERT asks the other question:
the negatives are the same two segments swapped. Shared words are the same both ways round, so any symmetric feature is
right exactly half of the time, and only the order of what is said can help. The documents here are made up: each word
is drawn from the list of the document's topic, or from one that all documents share, both with Zipf's frequencies.

Legend: a, b segments, each a bag of words.
"""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Literal

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

N_TOPICS, TOPIC_WORDS, COMMON_WORDS, N_PAIRS = 20, 100, 200, 400
Pair = tuple[Counter[int], Counter[int]]


@cache
def zipf(n: int) -> list[float]:
    """Cumulative weights 1, 1 + 1/2, 1 + 1/2 + 1/3 …: the r-th word is drawn in proportion to 1/r."""
    return list(accumulate(1 / rank for rank in range(1, n + 1)))


def segment(topic: int, n_words: int, topic_share: float, rng: random.Random) -> Counter[int]:
    """Words of one document, as a bag; topic k owns the ids from COMMON_WORDS + k·TOPIC_WORDS on."""
    n_topic = sum(rng.random() < topic_share for _ in range(n_words))
    start = COMMON_WORDS + topic * TOPIC_WORDS
    words = rng.choices(range(start, start + TOPIC_WORDS), cum_weights=zipf(TOPIC_WORDS), k=n_topic)
    return Counter(words + rng.choices(range(COMMON_WORDS), cum_weights=zipf(COMMON_WORDS), k=n_words - n_topic))


def idf(pairs: Sequence[tuple[Pair, bool]]) -> dict[int, float]:
    """log(segments / segments with the word): words that stand everywhere ("the") weigh nothing. Uses no label."""
    bags = [bag for pair, _ in pairs for bag in pair]
    found = Counter(word for bag in bags for word in bag)
    return {word: math.log(len(bags) / n) for word, n in found.items()}


def cosine(a: Counter[int], b: Counter[int], weight: Mapping[int, float]) -> float:
    """Cosine similarity of two weighted bags of words (TF-IDF), the same for (b, a) as for (a, b)."""
    x, y = ({word: n * weight.get(word, 0.0) for word, n in bag.items()} for bag in (a, b))
    norms = math.hypot(*x.values()) * math.hypot(*y.values())
    return math.fsum(x[word] * y[word] for word in x.keys() & y.keys()) / (norms or 1.0)


def labelled_pairs(negatives: str, n_words: int, topic_share: float, rng: random.Random) -> list[tuple[Pair, bool]]:
    """N_PAIRS true neighbours, and a negative for each of them: 50/50, as in BERT."""
    pairs: list[tuple[Pair, bool]] = []
    for _ in range(N_PAIRS):
        topic = rng.randrange(N_TOPICS)
        other = (topic + rng.randrange(1, N_TOPICS)) % N_TOPICS
        a, b, same_topic = (segment(topic, n_words, topic_share, rng) for _ in range(3))
        wrong = {
            "other document": (a, segment(other, n_words, topic_share, rng)),
            "same topic": (a, same_topic),
            "swapped": (b, a),
        }
        pairs += [((a, b), True), (wrong[negatives], False)]
    return pairs


def accuracy(scored: list[tuple[float, bool]], threshold: float) -> float:
    """Share of pairs put on the right side of the threshold."""
    return sum((score > threshold) == label for score, label in scored) / len(scored)


def solve(negatives: str, n_words: int, topic_share: float, rng: random.Random) -> float:
    """Pick the best threshold for the cosine on some pairs, count how many others it gets right."""
    train, test = (labelled_pairs(negatives, n_words, topic_share, rng) for _ in range(2))
    weight = idf(train)
    train_scores, test_scores = ([(cosine(*pair, weight), label) for pair, label in pairs] for pairs in (train, test))
    candidates = sorted(score for score, _ in train_scores)[::16]
    return accuracy(test_scores, max(candidates, key=lambda t: accuracy(train_scores, t)))


@dataclass(frozen=True)
class Params:
    negatives: Literal["other document", "same topic", "swapped"] = "other document"
    n_words: int = 60  # of a segment: BERT fills 512 tokens with two of them
    topic_share: float = 0.3  # share of the words that belong to the topic
    seed: int = 0

    def __post_init__(self) -> None:
        if not 5 <= self.n_words <= 300:
            raise ValueError("n_words must be between 5 and 300")
        if not 0 <= self.topic_share <= 1:
            raise ValueError("topic_share must be between 0 and 1")


def run(p: Params) -> Result:
    names = ["other document", "same topic", "swapped"]
    lengths = sorted({20, p.n_words})
    found = {
        name: [solve(name, n, p.topic_share, random.Random(f"{p.seed} {name} {n}")) for n in lengths] for name in names
    }
    reached = found[p.negatives][lengths.index(p.n_words)]
    pairs = labelled_pairs(p.negatives, p.n_words, p.topic_share, random.Random(p.seed))
    facts = [
        Fact("accuracy", "", reached, predicted=0.5 if p.negatives == "swapped" else None),
        Fact("positive_share", "", sum(label for _, label in pairs) / len(pairs), predicted=0.5),
        Fact("pairs", "pairs", len(pairs)),
    ]
    names_zh = {"other document": "来自别的文档", "same topic": "来自同一主题", "swapped": "是同一对互换顺序"}
    return Result(
        takeaway=Text(
            en=f"Negatives: {p.negatives}. Weighing (by TF-IDF) the words that two segments of {p.n_words} words share "
            f"tells neighbours from others in {reached:.1%} of the pairs.",
            zh=f"负例{names_zh[p.negatives]}，每段 {p.n_words} 个词：只看两段共有的词（TF-IDF 加权），"
            f"判断是否相邻的准确率为 {reached:.1%}。",
        ),
        facts=facts,
        table=Table(
            ("negatives", *(f"{n} words (%)" for n in lengths)),
            [(name, *(100 * a for a in row)) for name, row in found.items()],
        ),
        plot=Plot(
            "Bag-of-words cosine as a next-sentence predictor",
            "words in a segment",
            "accuracy",
            [Series(name, lengths, row) for name, row in found.items()],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
