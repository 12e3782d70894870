"""A bank of many questions and a history of answers, made up the same way each time."""

import random
import sqlite3
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from llmprep.content import CLUSTERS
from llmprep.srs.event import Event
from llmprep.srs.sm2 import State, review
from llmprep.store.log import ReviewLog
from llmprep.store.rows import INSERT_EVENT, event_row

POINTS = ("mechanism", "cost", "limit")
QUESTION = """\
id: {id}
cluster: {cluster}
level: {level}
tags: [synthetic, {cluster}]
asked: {asked}
needs: [{needs}]
prompt:
  en: "Synthetic question {n}: what does part {n} of a model store, what does it save, and what does it cost?"
  zh: "合成问题 {n}：模型的第 {n} 部分存了什么，省了什么，又占多少显存？"
answer:
  what:
    en: |
      Part {n} keeps **{a} vectors** of every past token, for every layer and every head. A step then sends only the
      newest token through the network: its query attends to what is stored.
    zh: |
      第 {n} 部分保存所有历史 token 在每一层、每个 head 上的 **{a} 个向量**。每一步只需让最新的一个 token 走完整个网络。
  why:
    en: |
      Nothing to the right of a token can change its state, so what was computed once is final.
    zh: |
      一个 token 的状态不受它右边任何 token 的影响，算出来就不会再变。
key_points:
  - id: mechanism
    must: true
    ask: {{en: "What is stored?", zh: "存了什么？"}}
    say: {{en: "{a} vectors a token", zh: "每个 token {a} 个向量"}}
  - id: cost
    must: true
    ask: {{en: "What does it cost?", zh: "代价是什么？"}}
    say: {{en: "{b} bytes a token", zh: "每个 token {b} 字节"}}
  - id: limit
    ask: {{en: "What limits it?", zh: "受什么限制？"}}
    say: {{en: "Memory bandwidth", zh: "显存带宽"}}
pitfalls:
  - wrong: {{en: "It makes everything {a} times faster.", zh: "它让一切快 {a} 倍。"}}
    right: {{en: "The saving grows with the length.", zh: "省下的随长度增长。"}}
"""


def write_bank(folder: Path, count: int) -> list[str]:
    """Write `count` question files below the clusters' folders; the result is their ids."""
    rng = random.Random(1)
    clusters = list(CLUSTERS.values())
    for cluster in clusters:
        (folder / cluster.folder).mkdir(parents=True, exist_ok=True)
    ids: list[str] = []
    for n in range(count):
        cluster = clusters[n % len(clusters)]
        needs = [ids[n - len(clusters)]] if n >= len(clusters) and rng.random() < 0.5 else []
        ids.append(f"{cluster.id}-part-{n:05d}")
        text = QUESTION.format(
            id=ids[-1],
            n=n,
            cluster=cluster.id,
            level=rng.choice(["core", "deep", "expert"]),
            asked=rng.randrange(20),
            needs=", ".join(needs),
            a=rng.randrange(2, 64),
            b=rng.randrange(1, 1000) * 128,
        )
        (folder / cluster.folder / f"{ids[-1]}.yaml").write_text(text, encoding="utf-8")
    return ids


def write_history(path: Path, keys: list[str], today: date, days: int = 120) -> int:
    """Fill a review log: each card introduced on some day and repeated when due; the result is how many answers."""
    rng = random.Random(2)
    with ReviewLog.open(path) as log:
        answers = sorted(_answers(keys, today, days, rng), key=lambda event: event.at)
        rows = [
            event_row(
                Event(
                    kind="answer",
                    day=answer.day,
                    at=answer.at,
                    card=answer.card,
                    way="whole",
                    grade=answer.grade,
                    points=POINTS[: rng.randrange(4)],
                    asked=POINTS,
                    seconds=round(rng.uniform(10, 200), 1),
                    id=f"{rng.getrandbits(128):032x}",
                    device=log.device,
                    seq=seq,
                )
            )
            for seq, answer in enumerate(answers, start=1)
        ]
        connection = sqlite3.connect(path)
        with connection:
            connection.executemany(INSERT_EVENT, rows)
        connection.close()
        log.rebuild()
    return len(rows)


def _answers(keys: list[str], today: date, days: int, rng: random.Random) -> list[Event]:
    """The answers to each card up to yesterday, some of them a few days late."""
    found = []
    for key in keys:
        day, state = today - timedelta(days=rng.randrange(1, days)), State()
        while day < today:
            grade = rng.choices(range(6), [1, 1, 2, 4, 8, 6])[0]
            at = datetime(day.year, day.month, day.day, 18, tzinfo=UTC) + timedelta(seconds=rng.randrange(7200))
            found.append(Event(kind="answer", day=day, at=at, card=key, grade=grade))
            state = review(state, grade)
            day += timedelta(days=state.interval + (rng.randrange(4) if rng.random() < 0.2 else 0))
    return found


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(f"{len(write_bank(target, int(sys.argv[2])))} questions in {target}")
