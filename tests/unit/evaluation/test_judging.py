"""What counts as one answer in a majority vote, and what a sample takes from its problem."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nt_lightning.evaluation.benchmark import AnswerKind, Benchmark, Problem
from nt_lightning.evaluation.grading import UngradedError
from nt_lightning.evaluation.judging import Asked, answer_class, judge
from nt_lightning.evaluation.options import Options


def problem(kind: AnswerKind, **metadata: Any) -> Problem:
    return Problem("p", "?", "gold", kind, domain="odd things", metadata=metadata)


@pytest.mark.parametrize(
    ("kind", "alike"),
    [
        ("letter", ("b", "B")),
        ("number", ("1,000", "1000.0", "$1000", "10000/10")),
        ("number", ("3/4", "0.75", "\\frac{3}{4}")),
        ("boxed", ("\\dfrac{1}{2}", "\\frac{1}{2}", "\\frac {1} {2}")),
        ("exact", ("New  York", "new york")),
    ],
)
def test_alike(kind: AnswerKind, alike: tuple[str, ...]) -> None:
    assert len({answer_class(problem(kind), answer, False) for answer in alike}) == 1


@pytest.mark.parametrize(
    ("kind", "left", "right"),
    [
        ("letter", "A", "B"),
        ("number", "1000", "1001"),
        ("number", "9" * 5000, "9" * 5001),  # Python converts no more than 4,300 digits
        ("boxed", "x^2", "x^3"),
        ("boxed", "A", "a"),
        ("exact", "York", "New York"),
    ],
)
def test_unlike(kind: AnswerKind, left: str, right: str) -> None:
    classes = {answer_class(problem(kind), answer, False) for answer in (left, right)}
    assert len(classes) == 2


def test_a_number_of_many_digits_and_a_large_exponent() -> None:
    assert answer_class(problem("number"), "1." + "3" * 90 + "e400", False).startswith("number: 1")
    assert answer_class(problem("number"), "1" * 4290 + "e400", False).startswith("text: 1")


def test_right_answers_are_one_class_and_no_other_answer_is_in_it() -> None:
    assert answer_class(problem("boxed"), "\\frac12", True) == "right"
    assert answer_class(problem("boxed"), "0.5", True) == "right"
    assert answer_class(problem("exact"), "right", False) != "right"
    assert answer_class(problem("exact"), "right", None) != "right"


def test_an_option_keeps_its_class_in_another_order() -> None:
    options = Options(("red", "green", "blue", "green"), gold=0)
    classes: dict[str, set[str]] = {}
    letters = set()
    for repeat in range(20):
        shown = options.shuffled("p", seed=0, repeat=repeat)
        asked = problem("letter", options=shown.letters, option_texts=shown.texts)
        for letter, text in zip(shown.letters, shown.texts, strict=True):
            classes.setdefault(text, set()).add(answer_class(asked, letter, None))
        letters.add(shown.letters[shown.texts.index("blue")])
    assert len(letters) > 1
    assert sorted(map(len, classes.values())) == [1, 1, 1]
    assert len(set.union(*classes.values())) == 3


def test_an_option_class_tells_nothing_of_its_text() -> None:
    asked = problem("letter", options="AB", option_texts=("secret", "canary"))
    assert answer_class(asked, "A", False) == "option: 1"


class Judge(Benchmark):
    name = "judge"
    version = "1"

    def problems(self) -> list[Problem]:
        return [problem("exact")]

    def grade(self, problem: Problem, answer: str) -> bool:
        if answer == "hang":
            raise UngradedError("too long")
        return answer == problem.reference_answer


class ConfidentialJudge(Judge):
    is_confidential = True


@pytest.mark.parametrize("kind", ["exact", "boxed", "number"])
@pytest.mark.parametrize("said", ["hang", "silver", "gold"])
def test_a_confidential_sample_holds_no_text(
    kind: AnswerKind, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = Asked(problem(kind), 0, "think", "a secret prompt")
    response = f"the answer is \\boxed{{{said}}}" if kind == "boxed" else f"Answer: {said}"
    got = judge(
        ConfidentialJudge(), asked, response, num_tokens=3, finish_reason="stop", stage="after"
    )
    plain = judge(Judge(), asked, response, num_tokens=3, finish_reason="stop", stage="after")
    assert (got.outcome, got.correct, got.rule) == (plain.outcome, plain.correct, plain.rule)
    texts = [str(got), *(record.getMessage() for record in caplog.records[:1])]
    for text in texts:
        assert not any(secret in text for secret in ("hang", "silver", "gold", "secret", "long"))
    assert (got.answer, got.reference_answer, got.prompt, got.response) == (None, "", "", "")


def test_the_hash_of_a_confidential_answer_is_alike_for_alike_answers_of_a_question() -> None:
    def alike(answer: str, question: str = "?") -> str:
        asked = Asked(Problem("p", question, "gold", "exact"), 0, "think", "?")
        return judge(
            ConfidentialJudge(),
            asked,
            f"Answer: {answer}",
            num_tokens=3,
            finish_reason="stop",
            stage="after",
        ).answer_class

    assert alike("Silver") == alike(" silver") != alike("copper")
    assert alike("silver") != alike("silver", "another question?")
    assert alike("gold") == "right"


def test_a_confidential_letter_stays() -> None:
    options = {"options": "AB", "option_texts": ("secret", "canary")}
    asked = Asked(replace(problem("letter", **options), reference_answer="B"), 0, "think", "?")
    got = judge(
        ConfidentialJudge(), asked, "Answer: A", num_tokens=3, finish_reason="stop", stage="after"
    )
    assert (got.answer, got.reference_answer, got.answer_class) == ("A", "B", "option: 1")
    assert "secret" not in str(got)
    wrong = judge(
        ConfidentialJudge(), asked, "Answer: mud", num_tokens=3, finish_reason="stop", stage="after"
    )
    assert (wrong.answer, wrong.answer_class) == (None, "")


@pytest.mark.parametrize(
    ("response", "finish_reason", "correct", "expected"),
    [
        ("Answer: gold", "stop", True, "right"),
        ("Answer: Silver", "stop", False, "text: silver"),
        ("Answer: hang", "stop", None, "text: hang"),
        ("<think>I wonder", "length", None, ""),
        ("Answer: gold", "time", None, ""),
    ],
)
def test_what_the_sample_gets(
    response: str, finish_reason: Any, correct: bool | None, expected: str
) -> None:
    asked = Asked(problem("exact"), 0, "think", "?")
    got = judge(Judge(), asked, response, num_tokens=3, finish_reason=finish_reason, stage="after")
    assert (got.domain, got.correct, got.answer_class) == ("odd things", correct, expected)
