"""The teachers differ in what they write, and the weak one slips more on longer ways."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from nt_lightning.pool.embedded.families import DEFAULT_FAMILIES, FAMILIES
from nt_lightning.pool.embedded.pool import EmbeddedPool
from nt_lightning.pool.embedded.questions import held_out_questions, item_random
from nt_lightning.pool.embedded.scoring import score
from nt_lightning.pool.embedded.teachers import SLIP, TEACHERS, weak_answer


def test_a_bag_of_words_tells_the_teachers_apart_on_held_out_questions() -> None:
    rows = EmbeddedPool(num_questions=80).make().to_pylist()
    texts, writers = [], []
    for asked in held_out_questions(num_problems=80):
        family = FAMILIES[asked.family]
        for teacher, write in TEACHERS.items():
            found = write(family, family.parse(asked.entry), item_random(asked.id, teacher))
            texts.append(found.reasoning)
            writers.append(teacher)
    vectorizer = CountVectorizer()
    known = vectorizer.fit_transform([row["reasoning"] for row in rows])
    classifier = LogisticRegression(max_iter=500).fit(known, [row["teacher"] for row in rows])
    assert classifier.score(vectorizer.transform(texts), writers) >= 0.95


def test_no_text_names_its_teacher(drafts: list[tuple[str, Any]]) -> None:
    for label, found in drafts:
        for teacher in TEACHERS:
            assert teacher not in found.reasoning, label
            assert teacher.replace("_", " ") not in found.reasoning, label


@pytest.mark.parametrize("name", DEFAULT_FAMILIES)
def test_the_same_question_is_answered_in_different_texts(name: str) -> None:
    asked = held_out_questions([name], 1)[0]
    family = FAMILIES[name]
    found = [w(family, family.parse(asked.entry), Random(0)) for w in TEACHERS.values()]
    assert len({one.reasoning for one in found}) == 4
    assert {one.answer for one in found} == {asked.reference_answer}


class Steps:
    """A family whose problems are numbers of operations."""

    def size(self, problem: int) -> int:
        return problem

    def slip(self, problem: int, rng: Random) -> str:
        return "wrong"

    def solve(self, problem: int) -> str:
        return "right"


@pytest.mark.parametrize("size", [0, 1, 5, 20])
def test_the_weak_teacher_slips_once_in_so_many_operations(size: int) -> None:
    family: Any = Steps()
    wrong = sum(weak_answer(family, size, Random(seed)) == "wrong" for seed in range(4000))
    assert wrong / 4000 == pytest.approx(1 - (1 - SLIP) ** size, abs=0.025)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_weak_teacher_is_often_right_and_often_not(name: str, drawn: Any) -> None:
    family = FAMILIES[name]
    verdicts = [
        score(name, weak_answer(family, family.parse(entry), item_random(index, seed)), entry)
        for index, entry in enumerate(drawn[name, "easy"])
        for seed in range(20)
    ]
    assert 0.5 < sum(verdicts) / len(verdicts) < 0.85
