"""What the screens say, in both languages."""

from datetime import date
from typing import Any

LEVELS = {"core": ("core", "核心"), "deep": ("deep", "进阶"), "expert": ("expert", "专家")}
LAYERS = {"what": ("what", "现象"), "why": ("why", "本质"), "how": ("how", "实战")}
KINDS = {
    "arithmetic": ("arithmetic", "算术"),
    "parity": ("parity with a reference", "与参考实现对照"),
    "experiment": ("experiment", "实验"),
    "simulation": ("simulation", "模拟"),
}
GRADES = (
    ("blank", "空白"),
    ("wrong", "错误"),
    ("close", "差一点"),
    ("hard", "吃力"),
    ("good", "想想才对"),
    ("perfect", "脱口而出"),
)

_WORDS: dict[str, tuple[str, str]] = {
    # the card
    "new": ("new", "新题"),
    "due_today": ("due today", "今天到期"),
    "due_days": ("due {n} d ago", "逾期 {n} 天"),
    "again": ("again: missed points", "再来一遍：有漏掉的要点"),
    "practice": ("practice, leaves the schedule alone", "练习，不影响复习安排"),
    "left": ("~{n} min left", "约剩 {n} 分钟"),
    "keys_front": (
        "space answer · p predict a number · h hint · x don't know · ? keys",
        "空格 看答案 · p 先猜数 · h 提示 · x 不会 · ? 按键",
    ),
    "keys_front_plain": ("space answer · h hint · x don't know · ? keys", "空格 看答案 · h 提示 · x 不会 · ? 按键"),
    "keys_more": ("space next layer · enter all of it", "空格 下一层 · 回车 全部展开"),
    "keys_back": (
        "a–{last} tick · 0–5 grade · enter underlined grade · r run the demo · ? keys",
        "a–{last} 勾选 · 0–5 评分 · 回车 用下划线的分 · r 运行 demo · ? 按键",
    ),
    "said_it": ("Said it?", "说到了吗？"),
    "measured": ("Measured", "实测"),
    "cited": ("cited", "引用"),
    "runs_it": ("r runs {demo}", "r 运行 {demo}"),
    "unmeasured": ("unmeasured: a draft without a demo", "未实测：没有 demo 的草稿"),
    "not_recorded": ("not measured yet: llmprep verify --record", "尚未实测：llmprep verify --record"),
    "sources": ("Sources", "出处"),
    "terms": ("Terms", "术语"),
    "pitfalls": ("Often said, and wrong", "常见误答"),
    "follow_ups": ("Asked next", "常见追问"),
    "needs": ("Builds on", "先修"),
    "key_points": ("Key points", "要点"),
    "demos": ("Demos", "Demo"),
    "asked_in": ("asked in {n} of 30 banks", "30 个题库中有 {n} 个问过"),
    "must": ("must", "必答"),
    "hint": ("Hint {i}/{n}: {text}", "提示 {i}/{n}：{text}"),
    "no_hint": ("no more hints", "没有更多提示了"),
    "dont_know": ("Don't know: graded 0. Read it once; it comes back today.", "不会：记 0 分。读一遍，今天还会再问。"),
    "next": ("any key goes on", "按任意键继续"),
    "comes_back": ("{grade} → back on {day} ({n} d)", "{grade} 分 → {day} 再复习（{n} 天后）"),
    "comes_today": ("{grade} → again today, then {day}", "{grade} 分 → 今天再来一次，之后是 {day}"),
    "no_change": ("{grade} → noted; the next date stays {day}", "{grade} 分 → 已记录，下次仍是 {day}"),
    "undone": ("taken back", "已撤销"),
    "nothing_to_undo": ("nothing to take back in this session", "本次没有可撤销的答案"),
    "skipped": ("skipped: it comes at the end", "已跳过，放到最后再问"),
    "unknown_key": ("no key {key!r} here; ? shows them all", "没有 {key!r} 这个键；? 查看全部"),
    "help": (  # two texts, a line a row
        (
            "space  the answer, layer by layer       enter  all of it\n"
            "a–f    tick what you said               0–5    grade\n"
            "enter  accept the underlined grade      x      don't know: an honest 0\n"
            "p      predict a number, then measure   n      a numeric drill\n"
            "h      a hint                           r      run the demo\n"
            "s      skip, to the end of the queue    u      undo the last answer\n"
            "q      quit, as does ctrl-c: what you have not graded is not recorded\n"
            "↻      comes again today               bold   a point that a pass needs"
        ),
        (
            "空格   逐层看答案               回车   全部展开\n"
            "a–f    勾选说到的要点           0–5    评分\n"
            "回车   采用带下划线的分数       x      不会：诚实地记 0 分\n"
            "p      先猜一个数，再看实测     n      数值练习\n"
            "h      提示                     r      运行 demo\n"
            "s      跳过，放到最后           u      撤销上一次评分\n"
            "q      退出，ctrl-c 也行：没有评分的题不会记录\n"
            "↻      今天还会再问             粗体   必答要点"
        ),
    ),
    # predictions, drills, demos
    "predict_ask": ("your number for ___ : ", "你猜 ___ 是："),
    "drill_ask": ("your number ({unit}): ", "你的答案（{unit}）："),
    "not_a_number": (
        "{text!r} is not a number; write 131072, 1.5e6 or 40%",
        "{text!r} 不是数字；可写 131072、1.5e6 或 40%",
    ),
    "predict_hit": ("You said {said}: exactly.", "你猜 {said}：完全正确。"),
    "predict_off": ("You said {said}, measured {measured} ({off}).", "你猜 {said}，实测 {measured}（{off}）。"),
    "drill_right": ("✓ {measured} {unit}", "✓ {measured} {unit}"),
    "drill_wrong": (
        "✗ measured {measured} {unit}; you said {said} ({off})",
        "✗ 实测 {measured} {unit}；你答 {said}（{off}）",
    ),
    "front_only": ("before the answer only: this card is open", "只能在看答案之前用：这张卡已经翻开"),
    "try_first": (
        "answer first (space), or predict (p): the demo tells",
        "先回答（空格）或先猜数（p）：demo 会直接给出答案",
    ),
    "tick_first": (
        "tick what you said (a–{last}), give a grade (0–5), or x for don't know",
        "先勾选说到的要点（a–{last}），或直接评分（0–5），x 表示不会",
    ),
    "missed_n": ("{n} to say that was missed", "漏掉了 {n} 条要点"),
    "no_prediction": ("this card has no number to predict", "这张卡没有可猜的数"),
    "no_drill": ("this card has no numeric drill", "这张卡没有数值练习"),
    "no_demo": ("this card has no demo", "这张卡没有 demo"),
    "running": ("running {demo} …", "正在运行 {demo} …"),
    "took": ("{seconds:.1f} s", "{seconds:.1f} 秒"),
    "read_it": ("Read it: {path}", "源码：{path}"),
    "settles": ("Settles", "可验证的论断"),
    "install_it": ("The demo needs {module}. Install it now? [y/N] ", "该 demo 需要 {module}。现在安装吗？[y/N] "),
    "stored": ("as stored; measured earlier with {versions}", "存档结果，此前在 {versions} 下实测"),
    # the calculator
    "calc_assumes": ("These numbers assume:", "以上数字的前提："),
    "calc_explain": ("--explain shows how each number comes about", "--explain 显示每个数字的由来"),
    "calc_models": ("models", "模型"),
    "calc_hardware": ("hardware", "硬件"),
    # the end of a session
    "done": ("Done: {cards} in {minutes} min", "完成：{cards}，用时 {minutes} 分钟"),
    "stopped": (
        "Stopped after {cards}; everything answered is stored.",
        "已停止：完成 {cards}，答过的都已保存。",
    ),
    "time_up": ("Time is up: {cards} in {minutes} min", "时间到：{cards}，用时 {minutes} 分钟"),
    "still_today": ("still to come today: {n}", "今天还剩 {n} 张"),
    "tomorrow": ("tomorrow: {n} due", "明天到期 {n} 张"),
    "worth": ("worth reading again: {id}", "值得再读一遍：{id}"),
    "try_demo": ("and its demo: llmprep demo run {demo}", "以及它的 demo：llmprep demo run {demo}"),
    "caught_up": ("Nothing is due. You are caught up.", "没有到期的卡片，今天都做完了。"),
    "next_due": ("Next: {n} on {day}.", "下次：{day}，{n}。"),
    "more_new": ("More new ones: llmprep quiz --new {n}", "想学新题：llmprep quiz --new {n}"),
    "practise_one": ("Practise any card: llmprep quiz {id}", "练习任意一题：llmprep quiz {id}"),
    "no_questions": ("no questions here", "这里没有题目"),
    # today
    "today_line": ("{due} due · {new} new · about {minutes} min", "到期 {due} · 新题 {new} · 约 {minutes} 分钟"),
    "all_done": ("all done today", "今天已完成"),
    "streak": ("streak {n} d", "连续 {n} 天"),
    "last_seven": ("last 7 days", "最近 7 天"),
    "weakest": ("weakest: {cluster} ({share} right)", "最弱：{cluster}（正确率 {share}）"),
    "type": ("type", "输入"),
    "welcome": (
        "{questions} questions, each with a demo that measures the answer. Start with:",
        "{questions} 道题，每个答案都有 demo 实测。从这里开始：",
    ),
    "welcome_own": ("{questions} questions in this bank. Start with:", "这个题库有 {questions} 道题。从这里开始："),
    "start_quiz": ("the daily quiz", "每日一练"),
    "start_show": ("one question with its evidence", "看一道题和它的证据"),
    "start_demo": ("run what is behind it", "运行对应的 demo"),
    # statistics
    "stats_title": ("Progress", "进度"),
    "seen": ("seen", "已学"),
    "mature": ("known (interval ≥ {n} d)", "已掌握（间隔 ≥ {n} 天）"),
    "of_total": ("{n} of {total}", "{n}/{total}"),
    "due": ("due", "到期"),
    "retention": ("right when due", "到期答对率"),
    "retention_30": ("{share} (30 days: {recent})", "{share}（近 30 天 {recent}）"),
    "time_spent": ("time spent", "总用时"),
    "minutes": ("{n:.0f} min, {answers} answers", "{n:.0f} 分钟，{answers} 次作答"),
    "forecast": ("Next 14 days", "未来 14 天"),
    "calendar": ("Last 18 weeks", "最近 18 周"),
    "less_more": ("less {scale} more", "少 {scale} 多"),
    "by_cluster": ("By cluster", "按主题"),
    "hardest": ("Hardest", "最难的卡片"),
    "failed": ("failed {n}×", "没答上 {n} 次"),
    "weekdays": ("M T W T F S S", "一 二 三 四 五 六 日"),
    "none_yet": ("no answers yet; llmprep quiz starts", "还没有作答；输入 llmprep quiz 开始"),
    # lists
    "claims": ("claims", "论断"),
    "nothing_found": ("nothing found for {words!r}", "没有找到 {words!r}"),
    "questions": ("questions", "题"),
}


def say(ui: str, phrase: str, /, **values: Any) -> str:
    """A phrase in the language of the interface."""
    return _WORDS[phrase][ui == "zh"].format(**values)


def pick(pair: tuple[str, str], ui: str) -> str:
    """One of a pair of words."""
    return pair[ui == "zh"]


def cards(n: int, ui: str) -> str:
    """`1 card`, `3 cards`, `3 张`."""
    return f"{n} 张" if ui == "zh" else f"{n} card" if n == 1 else f"{n} cards"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def day(when: date, today: date, ui: str) -> str:
    """A date as people say it: `22 Nov`, `11月22日`, with the year where it is most of a year away."""
    near = abs((when - today).days) < 330
    if ui == "zh":
        return ("" if near else f"{when.year}年") + f"{when.month}月{when.day}日"
    return f"{when.day} {_MONTHS[when.month - 1]}" + ("" if near else f" {when.year}")
