"""LawBench's scoring rules, each on answers scored by hand: right, wrong, in part, none."""

import math
from typing import Any

import lawbench_fixtures as made
import numpy as np
import pytest

from compression_order.evaluation.lawbench import edits, labels, rules, tasks
from compression_order.evaluation.lawbench.counts import Counts, contributions, f05

NO_TERM = math.log(216)


def term(months: int, told: int) -> float:
    """The score of a prison term: 1 minus the share of log 216 that the logs are apart."""
    return 1 - abs(math.log(months + 1) - math.log(told + 1)) / NO_TERM


# number -> answers to the first record of the fixtures: text, score, abstained
SCORED: dict[str, list[tuple[str, float, bool]]] = {
    # words of the answer: 公民 有受 教育 的 权利 。
    "1-1": [
        ("公民有受教育的权利。", 1, False),
        ("不知道", 0, False),
        # 4 words in common, in order, of 4 and of 6: P 1, R 2/3, F 4/5
        ("公民的权利。", 0.8, False),
        ("", 0, False),  # stands as a word that the answer has not
    ],
    "1-2": [
        ("[正确答案]B<eoa>", 1, False), ("C", 0, False), ("A或B", 0, False), ("不知道", 0, True),
    ],
    "2-2": [
        ("[争议焦点]利息<eoa>", 1, False), ("违约", 0, False), ("利息、违约", 0, False),
        ("无法判断", 0, True),
    ],
    # right: two labels. Both; another; one of two: P 1, R 1/2, F 2/3; one of two named, one right
    "2-3": [
        ("婚后有子女、有夫妻共同财产", 1, False), ("损害赔偿", 0, False),
        ("婚后有子女", 2 / 3, False), ("婚后有子女、适当帮助", 0.5, False), ("离婚", 0, True),
    ],
    "2-4": [
        ("[类别]劳动纠纷<eoa>", 1, False), ("侵权", 0, False), ("劳动纠纷、侵权", 0, False),
        ("", 0, True),
    ],
    # letters and digits of the answer: 5 0 元
    "2-5": [
        ("50元。", 1, False), ("三十", 0, False),
        ("付了50元", 2 * 3 / (5 + 3), False),  # 3 in common of 5 and of 3
        ("", 0, False), ("。", 0, False),
    ],
    # right: three kinds
    "2-6": [
        ("犯罪嫌疑人：王某\n受害人：李某\n被盗物品：手机 一部", 1, False),
        ("时间：昨天夜里", 0, False),
        # one of two right, one that is none: shared 1 of 2 predicted and 3 right, P 1/2, R 1/3
        ("受害人:李某\n地点:某市里", 2 * (1 / 2) * (1 / 3) / (5 / 6), False),
        # a name of three letters, two of them right: 2 x 2 / (3 + 2) = 4/5; P 4/5, R 4/15
        ("受害人:李某某", 2 * (4 / 5) * (4 / 15) / (16 / 15), False),
        ("无", 0, True), ("受害人：未提及", 0, True),
        ("受害人:李", 0, True),  # one character after the colon is none
    ],
    # words of the answer: 某地 新规 受欢迎
    "2-7": [
        ("某地新规受欢迎", 1, False), ("天气好", 0, False),
        ("某地新规", 2 * 1 * (2 / 3) / (5 / 3), False), ("", 0, False),
    ],
    "2-8": [("E", 1, False), ("A", 0, False), ("A和E", 0, False), ("都不对", 0, True)],
    # right: two events
    "2-9": [
        ("欺骗;归还/偿还", 1, False), ("卖淫", 0, False), ("欺骗", 2 / 3, False), ("没有", 0, True),
    ],
    # right: 打电话;买
    "2-10": [
        ("打电话;买", 1, False), ("走;看", 0, False),
        ("打电话", 2 * 1 * 0.5 / 1.5, False),  # P 1, R 1/2
        # 电话: 2 x 2 / (2 + 3) = 4/5, then 买: shared 9/5 of 2 and of 2
        ("电话;买", 0.9, False),
        ("买;打电话", 0, False),  # by place
        ("打电话；买", 0.5 * 2 * 0.75 / 1.125, False),  # see below
        ("", 0, False),
    ],
    # right: 234
    "3-1": [
        ("刑法第234条", 1, False), ("刑法第二百三十五条", 0, False),
        ("第二百三十四条第二款", 0, True),  # the paragraph takes the article along
        ("刑法第234条、刑法第235条", 2 * 0.5 * 1 / 1.5, False),
        ("不清楚", 0, True), ("", 0, True),
    ],
    # right: two charges
    "3-3": [
        ("盗窃罪、故意伤害罪", 1, False), ("放火", 0, False), ("盗窃", 2 / 3, False),
        # names two charges inside a third: 3 named, 1 of them right, 2 right: P 1/3, R 1/2, F 2/5
        ("盗窃、抢夺枪支、弹药、爆炸物", 2 / 5, False),
        ("无罪", 0, True),
    ],
    # right: 11 months
    "3-4": [
        ("[刑期]11个月<eoa>", 1, False), ("十一个月", 1, False), ("一年", term(11, 12), False),
        ("2月", term(11, 2), False),
        ("一年二个月", term(11, 2), False),  # the months alone
        ("300年", term(11, 3600), False),  # beyond log 216: below 0
        ("不知道", 0, True), ("", 0, True),
    ],
    # right: 5 months
    "3-5": [
        ("5个月", 1, False), ("11月", term(5, 11), False), ("二年", term(5, 24), False),
        ("无期", 0, True),
    ],
    "3-6": [("C", 1, False), ("D", 0, False), ("CD", 0, False), ("丙", 0, True)],
    # right: 1200
    "3-7": [
        ("[金额]1200元<eoa>", 1, False), ("600元", 0, False), ("600+600=1200.00", 1, False),
        ("1,200元", 0, False), ("一千二百元", 0, True),
    ],
    # words of the answer: 根据 民法典 第七 百 二十二条 ， 出租人 可以 解除合同 。
    "3-2": [
        ("根据民法典第七百二十二条，出租人可以解除合同。", 1, False), ("天", 0, False),
        # 出租人 可以 解除合同 。 of 4, and of 10
        ("出租人可以解除合同。", 2 * 1 * 0.4 / 1.4, False), ("", 0, False),
    ],
    "3-8": [
        ("可以先协商，协商不成可以起诉。", 1, False), ("天", 0, False),
        # 可以 起诉 of 2, and of the 9 words 可以 先 协商 ， 协商 不成 可以 起诉 。
        ("可以起诉", 2 * 1 * (2 / 9) / (1 + 2 / 9), False), ("", 0, False),
    ],
}  # fmt: skip
# 打电话；买 is one part of four letters, held against 打电话: 2 x 3 / (4 + 3) = 6/7; P 6/7, R 3/7
SCORED["2-10"][5] = ("打电话；买", 2 * (6 / 7) * (3 / 7) / (9 / 7), False)
CASES = [(number, *case) for number, cases in SCORED.items() for case in cases]


def scored(number: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = getattr(tasks, f"score_{number.replace('-', '_')}")(
        made.records(number)[0], [text]
    )
    return found


@pytest.mark.parametrize(("number", "text", "value", "abstained"), CASES)
def test_an_answer_is_scored_as_by_hand(
    number: str, text: str, value: float, abstained: bool
) -> None:
    found = scored(number, text)
    # the published rules add 1e-8 and 1e-10 to denominators
    assert found["score"] == pytest.approx(value, abs=2e-8)
    assert found["abstention"] == abstained


def test_every_task_has_a_right_and_a_wrong_answer_above() -> None:
    assert set(SCORED) | {"2-1"} == set(made.RECORDS)
    for cases in SCORED.values():
        assert {0.0, 1.0} <= {value for _, value, _ in cases}


def test_words_are_those_of_jieba_and_their_order_counts() -> None:
    assert rules.words("公民有受教育的权利。") == ["公民", "有受", "教育", "的", "权利", "。"]
    assert rules.words("某地新规受欢迎") == ["某地", "新规", "受欢迎"]
    assert rules.words(" \n") == []
    assert rules.common_subsequence("abcbdab", "bdcaba") == 4  # bcba
    assert rules.common_subsequence("", "a") == 0


def test_questions_without_entities_or_answers() -> None:
    record = made.records("2-6")[1]
    assert tasks.score_2_6(record, ["没有"]) == {"score": 1.0, "abstention": 0.0}
    assert tasks.score_2_6(record, ["时间：昨天夜里"])["score"] == 0
    assert tasks.score_2_5(made.records("2-5")[1], ["。"])["score"] == 1
    # a kind that comes twice has its last entity, and one on the same line runs to its end
    answer = {"受害人": "李某"}
    found = rules.entities("受害人:王某\n受害人:李某", answer, labels.ENTITIES)
    assert found.value == pytest.approx(1)
    found = rules.entities("受害人:李某;时间:昨天", answer, labels.ENTITIES)
    # 李某时间昨天, 6 letters of which 2: 2 x 2 / (6 + 2) = 1/2; and 昨天, which is none: P 1/4,
    # R 1/2
    assert found.value == pytest.approx(1 / 3)


# --- document proofreading --------------------------------------------------------------------

SENTENCE, RIGHT = made.RECORDS["2-1"][0]


def test_edits_of_a_sentence_by_hand() -> None:
    def told(source: str, target: str) -> list[tuple[str, int, int, str]]:
        found = edits.between(source, target)
        return [(e.kind, e.start, e.end, target[e.other_start : e.other_end]) for e in found]

    assert told("甲乙", "甲乙") == []
    # 覆 to 履, 绝 to 决
    assert told(SENTENCE, RIGHT) == [("S", 4, 5, "履"), ("S", 7, 8, "决")]
    assert told("提交了了证据", "提交了证据") == [("D", 2, 3, "")]
    assert told("原告证据", "原告的证据") == [("I", 2, 2, "的")]
    assert told("今天来他了", "今天他来了") == [("T", 2, 4, "他来")]
    assert told("他在北京昨天工作", "他昨天在北京工作") == [("T", 1, 6, "昨天在北京")]  # moved
    assert told("冬阴对外国", "外国对冬阴") == [("T", 0, 5, "外国对冬阴")]  # swapped
    assert told("甲乙丙", "丁戊丙") == [("S", 0, 2, "丁戊")]  # neighbours are one


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RIGHT, (2, 0, 0)),
        (SENTENCE, (0, 0, 2)),  # nothing changed
        ("被告拒不履行判绝", (1, 0, 1)),
        ("被告拒不履行判定", (1, 1, 1)),  # 绝 became another character: wrong, and 决 missed
        ("没有错误", (0, 0, 2)),
        # white space goes, and a traditional character is its simplified one
        ("被告拒不\n履行 判決", (2, 0, 0)),
        # cut after five more characters, which are one edit with the last right one
        (RIGHT + "以上就是修改", (1, 1, 1)),
        ("", (0, 1, 2)),  # stands as three other characters: one substitution of the whole
    ],
)  # fmt: skip
def test_edits_are_counted_as_by_hand(text: str, expected: tuple[int, int, int]) -> None:
    found = tasks.score_2_1(made.records("2-1")[0], [text])
    assert found == {"score": Counts(*expected), "abstention": 0.0}


def test_f05_is_that_of_all_sentences_and_the_mean_of_what_each_adds() -> None:
    # 3 right, 1 wrong, 3 missed: P 3/4, R 1/2, F0.5 = 1.25 x 3/8 / (3/16 + 1/2)
    items = [Counts(2, 0, 0), Counts(1, 1, 1), Counts(0, 0, 2)]
    assert f05(items) == pytest.approx(1.25 * 0.375 / 0.6875)
    # a sentence adds 1.25 right = 2.5, 1.25, 0 to the one sum, and 2.5, 2.5, 0.5 to the other
    ratio, whole = 3.75 / 5.5, 5.5
    shares = [ratio + 3 * (a - ratio * b) / whole for a, b in ((2.5, 2.5), (1.25, 2.5), (0, 0.5))]
    assert contributions(items) == pytest.approx(shares)
    assert np.mean(shares) == pytest.approx(f05(items))
    assert f05([Counts(0, 0, 3)]) == 0  # nothing done
    assert contributions([Counts(0, 3, 0)]) == [0.0]
    # nothing to do and nothing done
    assert f05([Counts(0, 0, 0)]) == 1
    assert contributions([Counts(0, 0, 0)] * 2) == [1.0, 1.0]
