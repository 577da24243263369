"""Extraction and grading against what others recorded.

Letters: MMLU-Pro's official parser takes the first "answer is (X)" of a stored output, we take the
last. Mathematics: gold solutions of MATH-500 and gold answers of OlymMATH, as a benchmark grades.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from typing import Any

import pytest

from evals.math_500 import Math500
from nt_lightning.evaluation.extraction import extract
from nt_lightning.evaluation.grading import UngradedError, math_equal
from nt_lightning.evaluation.letters import SEVERAL
from tests.benchmarks import verification as benchmark
from tests.integration.real_data import real_file

LLAMA, MIXTRAL = "Meta-Llama-3_1-8B-Instruct", "Mixtral-8x7B-Instruct-v0.1"
SAID = re.compile(r"answer is \(([A-J])\)")
LATER = "several answers one after another: they take the first, we the last"
DIFFERENCES = {
    LLAMA: {
        840: 'they read the A of "the closest answer is A1\'s share"; said is (E)',
        **dict.fromkeys((1013, 4403, 4496, 4632, 7163), LATER),
        **dict.fromkeys((7362, 11071, 11688, 11772), LATER),
    },
    MIXTRAL: {
        **dict.fromkeys((2129, 8314), "the letter that is said is none of the question's options"),
        **dict.fromkeys((3288, 3765, 4018, 4118, 6467, 7041, 7340, 7705, 9654), LATER),
        **dict.fromkeys((11693, 11764, 11770, 11844, 12221), LATER),
    },
}


def outputs(model: str) -> list[dict[str, Any]]:
    """The stored outputs of a model, each with our letter as ``ours`` and its ``rule``."""
    with zipfile.ZipFile(real_file("mmlu_pro", f"model_outputs_{model}_5shots.zip")) as archive:
        rows: list[dict[str, Any]] = json.loads(archive.read(archive.namelist()[0]))
    for row in rows:
        options = "ABCDEFGHIJ"[: len(row["options"])]
        letter, row["rule"], _ = extract(row["generated_text"], "letter", options=options)
        row["ours"] = letter and letter.upper()
    return rows


@pytest.mark.parametrize(
    ("model", "said", "same", "listing"),
    [(LLAMA, 10_980, 10_970, 15), (MIXTRAL, 10_596, 10_580, 242)],
)
def test_recorded_letters(model: str, said: int, same: int, listing: int) -> None:
    """Of outputs that say a letter 99.91 % (Llama) and 99.85 % (Mixtral) have the recorded one."""
    rows = [row for row in outputs(model) if row["pred"] and SAID.search(row["generated_text"])]
    unlike = {row["question_id"] for row in rows if row["ours"] != row["pred"]}
    assert len(rows) == said
    assert len(rows) - len(unlike) >= same
    assert 1 - len(unlike) / len(rows) >= 0.995
    assert unlike == set(DIFFERENCES[model])
    assert sum(row["rule"].endswith(SEVERAL) for row in rows if row["rule"]) == listing


@pytest.mark.parametrize(
    ("model", "silent", "found", "right"), [(LLAMA, 1_052, 3, 0), (MIXTRAL, 1_436, 19, 5)]
)
def test_outputs_without_the_phrase(model: str, silent: int, found: int, right: int) -> None:
    """They end before an answer: of 1,052 and 1,436 we find a letter in 3 and 19, 5 of them right.

    Four say several letters in one bracket ("(A, C)"). 17 are cut off too, in "The answer is (B" or
    behind the label of the next option; with the reason ``length`` they would be truncated and
    count as no answer.
    """
    rows = [r for r in outputs(model) if not (r["pred"] and SAID.search(r["generated_text"]))]
    letters = [row for row in rows if row["ours"]]
    assert len(rows) == silent
    assert len(letters) <= found
    assert sum(row["ours"] == row["answer"] for row in letters) >= right


def test_gold_solutions_of_math_500() -> None:
    """The box of each gold solution is right; of pairs of unequal golds 99 % are wrong."""
    file = real_file("benchmarks", "math500_test.jsonl")
    math_500 = Math500(str(file))
    problems = {problem.metadata["stem"]: problem for problem in math_500.problems()}
    for row in benchmark.math_problems(file):
        answer = extract(row["solution"], "boxed").answer
        assert answer is not None
        assert math_500.grade(problems[row["problem"]], answer), row["unique_id"]
    verdicts: Counter[bool | None] = Counter()
    for pair in benchmark.pair_rows(2_000, seed=1, file=file):
        try:
            answer = extract(pair["answer"], "boxed").answer or ""
            verdicts[math_500.grade(problems[pair["question"]], answer)] += 1
        except UngradedError:
            verdicts[None] += 1
    assert verdicts[True] == 0
    assert verdicts[False] / 2_000 >= 0.99


def test_gold_answers_of_olym_math() -> None:
    file = real_file("benchmarks", "OlymMATH-EN-EASY.jsonl")
    rows = benchmark.math_problems(file)
    assert len(rows) == 100
    for row in rows:
        answer = extract(f"So it is\n\n$$\\boxed{{{row['answer']}}}.$$", "boxed").answer
        assert answer is not None
        assert math_equal(row["answer"], answer, row["problem"])
    wrong = 0
    for pair in benchmark.pair_rows(400, file=file):
        answer = extract(pair["answer"], "boxed").answer or ""
        wrong += not math_equal(pair["reference_answer"], answer, pair["question"])
    assert wrong == 400
