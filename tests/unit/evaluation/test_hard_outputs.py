"""Hard responses and what a careful reader takes from them: ``golden/hard_outputs.jsonl``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.benchmark_data import TableBenchmark, TableRow
from nt_lightning.evaluation.extraction import extract
from nt_lightning.evaluation.judging import Asked, judge

FILE = Path(__file__).parents[2] / "golden" / "hard_outputs.jsonl"
CASES = [json.loads(line) for line in FILE.read_text("utf-8").split("\n") if line]


class Plain(TableBenchmark):
    """Grades as every benchmark of a table does."""

    name, version = "plain", "1"

    def rows(self) -> Iterable[TableRow]:
        return []

    def problem(self, row: TableRow, repeat: int) -> Problem:
        raise NotImplementedError


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_hard_outputs(case: dict[str, Any]) -> None:
    options = {"options": case["options"]} if "options" in case else {}
    problem = Problem(case["id"], "?", case["reference"], case["kind"], metadata=options)
    sample = judge(
        Plain(),
        Asked(problem, 0, "no_think", ""),
        case["response"],
        num_tokens=1,
        finish_reason=case["finish_reason"],
        stage="test",
    )
    found = {"outcome": sample.outcome, "answer": sample.answer, "correct": sample.correct}
    assert found == case["expected"], case["why"]
    if sample.span is not None:
        assert case["response"][slice(*sample.span)] == sample.answer


def test_the_file_is_what_it_says() -> None:
    """Enough cases of every kind and outcome, each with its own id, response and reason."""
    assert len(CASES) >= 220
    assert len({case["id"] for case in CASES}) == len(CASES)
    texts = [
        (case["kind"], case["reference"], case["response"], case["finish_reason"]) for case in CASES
    ]
    assert len(set(texts)) == len(texts)
    assert all(case["why"] for case in CASES)
    kinds = Counter(case["kind"] for case in CASES)
    assert all(kinds[kind] >= 25 for kind in ("letter", "number", "boxed", "exact"))
    outcomes = Counter(case["expected"]["outcome"] for case in CASES)
    assert set(outcomes) == {"answered", "unparsed", "truncated", "looped", "not_evaluated"}
    verdicts = Counter(case["expected"]["correct"] for case in CASES)
    assert min(verdicts[True], verdicts[False], verdicts[None]) >= 15
    for case in CASES:
        if (answer := case["expected"]["answer"]) is not None:
            assert answer in case["response"]


def test_extraction_alone_says_the_same() -> None:
    for case in CASES:
        if case["finish_reason"] != "time":
            found = extract(case["response"], case["kind"], options=case.get("options"))
            assert found.answer == case["expected"]["answer"]
