"""The engine from problems to results, on one rank and on two."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals.file_benchmark import FileBenchmark
from nt_lightning.__main__ import main
from nt_lightning.errors import UserError
from nt_lightning.evaluation import cache, student_engine
from nt_lightning.evaluation.benchmark import AnswerKind, Benchmark, Problem
from nt_lightning.evaluation.evaluate import Evaluation
from nt_lightning.evaluation.generation import Generation
from nt_lightning.evaluation.grading import UngradedError
from nt_lightning.evaluation.results import read_results, read_samples, samples_path
from nt_lightning.evaluation.settings import EvaluationSettings
from nt_lightning.evaluation.student_engine import StudentEngine
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkModes
from tests.tiny import save_tiny_student

MODES = ThinkModes().with_num_words(40)
RANKS_SCRIPT = """
import sys
import torch.distributed as dist
from pathlib import Path
from tests.unit.evaluation.test_evaluate import Sums, run_evaluation
root, rank = Path(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{root}/store", rank=rank, world_size=2)
results = run_evaluation(root, str(root / "student"), Sums(3), rank=rank, world_size=2)
one = run_evaluation(root / "one", str(root / "student"), Sums(1), rank=rank, world_size=2)
print([result.accuracy for result in results], one[0].num_problems)
dist.destroy_process_group()
"""


class Sums(Benchmark):
    name = "sums"
    version = "7"

    def __init__(self, count: int = 3) -> None:
        self.count = count

    def problems(self) -> list[Problem]:
        return [
            Problem(f"p{i}", f"What is {i} + 4?", str(i + 4), "number") for i in range(self.count)
        ]

    def grade(self, problem: Problem, answer: str) -> bool:
        if answer == "99":
            raise UngradedError("too hard")
        return answer == problem.reference_answer

    def baselines(self, problems: Sequence[Problem]) -> dict[str, float]:
        return {"majority": 1 / len(problems)}


def run_evaluation(root: Path, student: str, benchmark: Benchmark, **changes: Any) -> Any:
    settings = EvaluationSettings(
        max_new_tokens=6, temperature=1.0, top_p=1.0, repeats=2, **changes.pop("settings", {})
    )
    formatter = PromptFormatter(AutoTokenizer.from_pretrained(student))
    engine = StudentEngine(AutoModelForCausalLM.from_pretrained(student), formatter, 3)
    labels = {"run": root, "stage": "after", "step": 5, **changes}
    return Evaluation(engine, formatter, MODES, settings, **labels)(
        [benchmark], ["no_think", "think"]
    )


@pytest.fixture
def student(tmp_path: Path) -> str:
    return save_tiny_student(tmp_path / "student")


def answers(monkeypatch: pytest.MonkeyPatch, *responses: tuple[str, str]) -> list[list[int]]:
    """Let ``generate`` give these texts and finish reasons; returns the prompts that it saw."""
    seen: list[list[int]] = []

    def fake(model: Any, formatter: Any, prompts: Any, *, begun: list[str], **_: Any) -> Any:
        seen.extend(list(prompt) for prompt in prompts)
        return [
            Generation(prefix + text, 5, reason)  # type: ignore[arg-type]
            for prefix, (text, reason) in zip(begun, responses, strict=True)
        ]

    monkeypatch.setattr(student_engine, "generate", fake)
    return seen


def test_from_responses_to_results(tmp_path: Path, student: str, monkeypatch: Any) -> None:
    loop = "no, wait. " * 30
    seen = answers(
        monkeypatch,
        ("Answer: 4", "stop"),
        ("I see.\n</think>\n\nAnswer: 4", "stop"),
        ("So the answer is 99.", "stop"),  # grading fails on it
        ("</think> Answer: 99", "stop"),
        (loop, "length"),
        ("Answer: 6", "time"),
    )
    no_think, think = run_evaluation(tmp_path, student, Sums())
    formatter = PromptFormatter(AutoTokenizer.from_pretrained(student))
    assert seen[0] == formatter.prompt_ids("What is 0 + 4?", MODES.no_think)
    assert seen[6] == formatter.prompt_ids("What is 0 + 4?", MODES.think)
    assert (no_think.num_problems, no_think.accuracy) == (3, pytest.approx(2 / 5))
    assert no_think.outcomes["looped"] == pytest.approx(1 / 5)
    assert no_think.obedience == pytest.approx(2 / 5)
    assert think.accuracy == pytest.approx(1 / 5)  # "Answer: 4" alone never left the thinking
    assert think.outcomes["unparsed"] == pytest.approx(2 / 5)
    rows = read_samples(samples_path(tmp_path, "after", "sums", "think"))
    assert [(row.problem_id, row.repeat) for row in rows] == [
        ("p0", 0), ("p0", 1), ("p1", 0), ("p1", 1), ("p2", 0), ("p2", 1)
    ]  # fmt: skip
    assert [row.correct for row in rows] == [None, True, None, None, None, None]
    assert rows[3].outcome == "answered"  # but without a verdict
    assert rows[5].outcome == "not_evaluated"
    assert rows[1].prompt == formatter.prompt_text("What is 0 + 4?", MODES.think) + "<think>"
    content = read_results(tmp_path)
    asked = content.settings_of("after", "sums")
    assert (asked["version"], asked["repeats"], asked["top_p"]) == ("7", 2, 1.0)
    assert set(asked["student"]) > {"weights", "dtype"}
    assert content.settings_of("before", "sums") == content.settings_of("after", "other") == {}
    assert content.results == [no_think, think]


def test_the_first_problems_are_taken(tmp_path: Path, student: str) -> None:
    results = run_evaluation(tmp_path, student, Sums(9), settings={"max_problems": 2})
    assert [result.num_problems for result in results] == [2, 2]
    rows = read_samples(samples_path(tmp_path, "after", "sums", "no_think"))
    assert {row.problem_id for row in rows} == {"p0", "p1"}
    assert read_results(tmp_path).baselines == {"sums": {"majority": 1 / 9}}


def test_out_of_time_is_not_wrong(
    tmp_path: Path, student: str, caplog: pytest.LogCaptureFixture
) -> None:
    (result, _) = run_evaluation(tmp_path, student, Sums(), settings={"max_seconds": 1e-9})
    assert (result.num_problems, result.accuracy) == (0, None)
    assert "6 of 6 responses were not finished within max_seconds" in caplog.text


def test_two_ranks_give_the_samples_of_one(tmp_path: Path, student: str) -> None:
    """A real process group; with one problem the second rank has nothing to do but to take part."""
    expected = run_evaluation(tmp_path / "alone", student, Sums())
    commands = [[sys.executable, "-c", RANKS_SCRIPT, str(tmp_path), str(r)] for r in range(2)]
    ranks = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    outputs = [rank.communicate(timeout=100) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    assert outputs[0][0].strip() == outputs[1][0].strip()
    assert outputs[0][0].strip().endswith(" 1")
    assert read_results(tmp_path).results == expected
    for mode in ("no_think", "think"):
        both = read_samples(samples_path(tmp_path, "after", "sums", mode))
        assert both == read_samples(samples_path(tmp_path / "alone", "after", "sums", mode))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_problems": -1}, "max_problems is -1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"repeats": 2, "temperature": 0}, "equal responses"),
        ({"repeats": {"sums": 0}}, "repeats.sums is 0"),
        ({"repeats": {"sums": 2}, "temperature": 0}, "repeats.sums is 2"),
        ({"max_total_tokens": 0}, "max_total_tokens is 0"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EvaluationSettings(**{"max_new_tokens": 8, **changes})


class Varying(Sums):
    """Asks for one more in every further run."""

    def variant(self, problem: Problem, repeat: int) -> Problem:
        number = int(problem.id[1:])
        question, gold = f"What is {number} + {4 + repeat}?", str(number + 4 + repeat)
        return Problem(problem.id, question, gold, "number")


def test_each_run_asks_its_variant_and_is_graded_by_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, student: str
) -> None:
    said = ("Answer: 4", "stop"), ("Answer: 4", "stop")
    seen = answers(monkeypatch, *said)
    run_evaluation(tmp_path, student, Varying(1))
    assert seen[0] != seen[1]
    samples = read_samples(samples_path(tmp_path, "after", "sums", "no_think"))
    assert [(one.repeat, one.reference_answer, one.correct) for one in samples] == [
        (0, "4", True),
        (1, "5", False),
    ]


@pytest.mark.parametrize("kind", ["exact", "boxed", "letter"])
def test_of_a_confidential_benchmark_no_text_is_stored(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    student: str,
    kind: AnswerKind,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gold, wrong = r"\frac{canary}{41}", r"\sqrt{parrot}"
    row = {"question": "Which bird sings?", "reference_answer": gold, "birds": [gold, wrong]}
    (tmp_path / "set.jsonl").write_text(json.dumps(row) + "\n")
    options = "birds" if kind == "letter" else None
    benchmark = FileBenchmark(
        "set", str(tmp_path / "set.jsonl"), options=options, kind=kind, is_confidential=True
    )
    texts = [gold, wrong] if options is None else ["A", "B"]
    texts = [rf"\boxed{{{text}}}" if kind == "boxed" else text for text in texts]
    said = [(f"The thought sings. Answer: {text}", "stop") for text in texts]
    made = iter([*said, *said])

    def fake(model: Any, formatter: Any, prompts: Any, **given: Any) -> list[Generation]:
        out = []
        for index, begun in enumerate(given["begun"]):
            text, reason = next(made)
            closed = "</think>" if begun else ""
            out.append(Generation(begun + closed + text, 5, reason))  # type: ignore[arg-type]
            given["on_response"](index, out[-1])
        return out

    monkeypatch.setattr(student_engine, "generate", fake)
    run = tmp_path / "run"
    no_think, think = run_evaluation(run, student, benchmark)
    assert (no_think.accuracy, think.accuracy) == (0.5, 0.5)  # one of two is right
    (tmp_path / "other").mkdir()
    shutil.copytree(run / "evaluation", tmp_path / "other" / "evaluation")
    assert main(["report", str(run), "--other", str(tmp_path / "other")]) == 0
    files = [file for file in run.rglob("*") if file.is_file()]
    names = {"set-no_think.jsonl", "set-think.jsonl", "results.json", "samples.html"}
    assert {file.name for file in files} == {*names, "comparison.json"}
    page = (run / "samples.html").read_text()
    packed = re.search(r'id="data">([^<]*)<', page)
    assert packed is not None
    seen = [zlib.decompress(base64.b64decode(packed[1])).decode(), page, caplog.text]
    seen += [file.read_text() for file in files]
    for text in seen:
        for secret in ("canary", "parrot", "sings", "Which bird", "thought"):
            assert secret not in text, secret
    assert list(cache.cache_dir().rglob("*.jsonl")) == []


def saying(monkeypatch: pytest.MonkeyPatch, num_tokens: int) -> list[tuple[int, int | None]]:
    """Let responses be of so many tokens within the budget; returns prompts and budgets seen."""
    seen: list[tuple[int, int | None]] = []

    def fake(model: Any, formatter: Any, prompts: Any, **given: Any) -> list[Generation]:
        left = given["max_total_tokens"]
        seen.append((len(prompts), left))
        out = []
        for index, begun in enumerate(given["begun"]):
            fits = left is None or num_tokens <= left
            left = left and left - num_tokens * fits
            out.append(Generation(begun + "4", num_tokens * fits, "stop" if fits else "time"))
            if fits:
                given["on_response"](index, out[-1])
        return out

    monkeypatch.setattr(student_engine, "generate", fake)
    return seen


def test_what_the_cache_had_is_counted_and_costs_of_the_budget_what_it_cost(
    tmp_path: Path, student: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = {"max_total_tokens": 33}
    seen = saying(monkeypatch, 10)
    first = run_evaluation(tmp_path / "first", student, Sums(), settings=budget)
    again = run_evaluation(tmp_path / "again", student, Sums(), settings=budget)
    whole = run_evaluation(tmp_path / "whole", student, Sums())
    full = run_evaluation(tmp_path / "full", student, Sums(), settings=budget)
    assert [result.num_reused for result in (*first, *again)] == [0, 0, 3, 3]
    assert [result.num_reused for result in (*whole, *full)] == [3, 3, 3, 3]
    counts = [(result.num_responses, result.num_unfinished) for result in first]
    for other in (again, full):
        assert [(result.num_responses, result.num_unfinished) for result in other] == counts
    assert counts == [(3, 3), (3, 3)]
    assert [left for _, left in seen] == [33, 33, 3, 3, None, None, 0, 0]
    assert [result.num_reused for result in read_results(tmp_path / "again").results] == [3, 3]


def test_reuse_false_reuses_nothing(
    tmp_path: Path, student: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, 10)
    run_evaluation(tmp_path / "first", student, Sums())
    results = run_evaluation(tmp_path / "again", student, Sums(), settings={"reuse": False})
    assert [result.num_reused for result in results] == [0, 0]
