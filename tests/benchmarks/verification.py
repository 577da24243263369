"""python -m tests.benchmarks.verification [--parts reasoning_gym ...] [--workers 2] [--every 1]

``pool verify`` against verdicts that nobody here made, on the data beside the checkout:

``reasoning_gym``: the recorded verdicts of 71 families x 50 questions x 4 models, each question
made again from its config and index. ``scorers`` holds reasoning-gym's own scorers against the
same records, without our rules and without the check of the question. ``math_500``: every gold
answer in a box against itself, and 2,000 pairs of different problems with unequal gold answers;
``olym_math`` the same of OlymMATH.
``gsm8k``: the replies of five teachers against the answer behind ``####``. ``hang``: towers of
exponents among sums. Each part is a pool that is written, verified and read again; rows/s count
the start of the workers and the writing of the new pool.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa

from nt_lightning.pool.verify import verify_traces
from nt_lightning.traces.pool import Pool, write_pool
from tests.benchmarks.protocol import Meter, report

DATA = Path(__file__).parents[3] / "shared" / "data"
GYM = DATA / "reasoning_gym_eval" / "easy_4models.jsonl.gz"
MATH_500 = DATA / "benchmarks" / "math500_test.jsonl"
OLYM_MATH = DATA / "benchmarks" / "OlymMATH-EN-EASY.jsonl"
GSM8K = DATA / "mip_overthinking" / "response" / "gsm8k" / "normal"
TEACHERS = {"deepseekR1": "deepseek-reasoner (question)"} | dict.fromkeys(
    ("QwQ", "s1.1", "Qwen32", "phi3"), "model_answer"
)
RIGHT = 0.99
NUM_PAIRS = 2_000
TOWER = "9^{9^{9^{9}}}"

Row = dict[str, Any]
Results = list[tuple[str, object]]


def trace(row: Row) -> Row:
    """A row with what every trace has."""
    return {"teacher": "someone", "reasoning": "", **row}


def gym_records() -> list[Row]:
    """The recorded prompts, each with four responses."""
    with gzip.open(GYM, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def gym_rows(every: int = 1) -> list[Row]:
    """A trace for each reply that has a text, of every n-th prompt.

    ``recorded`` is the recorded verdict, ``tagged`` whether an answer was found in the reply then:
    without ``<answer>`` tags it was scored as no answer at all.
    """
    return [
        trace(
            {
                "id": f"{record['dataset']}-{record['index']}/{reply['model']}",
                "question": record["question"],
                "answer": reply["response"],
                "reference_answer": record["expected_answer"] or None,
                "source": f"reasoning_gym/{record['dataset']}",
                "reasoning_gym": json.dumps({"config": record["config"], "index": record["index"]}),
                "recorded": reply["score"] >= RIGHT,
                "tagged": reply["answer"] is not None,
            }
        )
        for record in gym_records()[::every]
        for reply in record["responses"]
        if reply["response"].strip()
    ]


def math_problems(file: Path = MATH_500) -> list[Row]:
    """MATH-500, or OlymMATH."""
    return [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]


def math_rows(file: Path = MATH_500) -> list[Row]:
    """Every gold answer as the answer to its own problem."""
    return [
        trace(
            {
                "id": one["unique_id"],
                "question": one["problem"],
                "answer": f"So it is\n\n$$\\boxed{{{one['answer']}}}.$$",
                "reference_answer": one["answer"],
            }
        )
        for one in math_problems(file)
    ]


def pair_rows(count: int = NUM_PAIRS, seed: int = 0, file: Path = MATH_500) -> list[Row]:
    """Gold answers as answers to other problems, where ``are_equal`` says that they are unequal."""
    problems, rng = math_problems(file), random.Random(seed)
    rows: list[Row] = []
    while len(rows) < count:
        asked, other = rng.sample(problems, 2)
        if are_equal(asked["answer"], other["answer"]):
            continue
        rows.append(
            trace(
                {
                    "id": str(len(rows)),
                    "question": asked["problem"],
                    "answer": f"So it is \\boxed{{{other['answer']}}}.",
                    "reference_answer": asked["answer"],
                }
            )
        )
    return rows


def are_equal(left: str, right: str) -> bool:
    """Whether two LaTeX answers are equal by text or by value, without any of our own code."""
    if _bare(left) == _bare(right):
        return True
    values = _value(left), _value(right)
    return None not in values and abs(values[0] - values[1]) < 1e-9  # type: ignore[operator]


def _bare(latex: str) -> str:
    latex = re.sub(r"\\(?:left|right|text|mbox|[dt](?=frac)|[,;:! ])", "", latex)
    return re.sub(r"[\s${}\\]|\^circ", "", latex)


def _value(latex: str) -> float | None:
    """The value of fractions, roots, powers and pi, by sympy; ``None`` for anything else."""
    import sympy

    text = re.sub(r"\\[,;:! ]|\\left|\\right|[\s$]|\\\$|\^\\circ|\\text\{[^}]*\}", "", latex)
    with contextlib.suppress(ValueError):
        return float(Fraction(text.replace(",", "")))
    text = re.sub(r"\\[dt]?frac(\d)(\d)", r"((\1)/(\2))", text)
    for _ in range(3):
        text = re.sub(r"\\[dt]?frac\{([^{}]*)\}\{?([^{}]*)\}?", r"((\1)/(\2))", text)
        text = re.sub(r"\\sqrt\{([^{}]*)\}", r"(sqrt(\1))", text)
    text = re.sub(r"\\sqrt(\d)", r"(sqrt(\1))", text).replace("\\pi", "(pi)")
    text = re.sub(r"(?<=[\d)])(?=\()", "*", text).replace("^", "**")
    if not re.fullmatch(r"(?:sqrt|pi|[\d+\-*/().])+", text):
        return None
    try:
        return float(sympy.sympify(text))
    except (sympy.SympifyError, TypeError, ValueError):
        return None


def gsm8k_rows(teachers: tuple[str, ...] = tuple(TEACHERS)) -> list[Row]:
    """Replies of teachers to questions of GSM8K, without their thinking."""
    rows = []
    for teacher in teachers:
        records = json.loads((GSM8K / teacher / "response.json").read_text("utf-8"))
        for number, record in enumerate(records):
            answer = record[TEACHERS[teacher]].rpartition("</think>")[2].strip()
            if teacher == "s1.1":  # no tags: the answer follows a line that says so
                answer = answer.rpartition("answer\n")[2]
            row = {
                "id": f"{teacher}-{number}",
                "question": record["question"],
                "teacher": teacher,
                "answer": answer,
                "reference_answer": record["answer"],
            }
            rows.append(trace(row))
    return [row for row in rows if row["answer"]]


def hang_rows(count: int = 40) -> list[Row]:
    """Sums, and one tower of exponents in ten."""
    return [
        trace(
            {
                "id": str(number),
                "question": f"What is {number}?",
                "answer": f"\\boxed{{{TOWER if number % 10 == 0 else f'{number}+0'}}}",
                "reference_answer": str(number),
            }
        )
        for number in range(count)
    ]


def verified(rows: list[Row], workers: int, limit_s: float = 5.0) -> tuple[list[Row], Meter]:
    """The rows with their verdicts, and what it took."""
    with tempfile.TemporaryDirectory() as folder:
        pool = write_pool(pa.Table.from_pylist(rows), Path(folder, "pool"), {})
        with Meter() as meter:
            verify_traces(pool, Path(folder, "out"), workers=workers, limit_s=limit_s)
        return Pool(Path(folder, "out")).read().to_pylist(), meter


def counts(rows: list[Row]) -> str:
    """How many are right, wrong and null, by reason."""
    found = Counter((row["correct"], row["verified_by"]) for row in rows)
    return ", ".join(f"{correct} {by} {count}" for (correct, by), count in found.most_common())


def speed(rows: list[Row], meter: Meter) -> Results:
    """Rows a second."""
    return [
        ("rows", len(rows)),
        ("rows/s", len(rows) / meter.wall_s),
        ("cpu_s", meter.cpu_s),
        ("extra_mib", meter.extra_mib),
        ("verdicts", counts(rows)),
    ]


def reproduced(rows: list[Row]) -> Results:
    """How far verdicts are the recorded ones, of all replies, of those with an answer, of decided.

    A reply without tags was recorded as wrong whatever it says, so those tell little.
    """
    tagged = [row for row in rows if row["tagged"]]
    decided = [row for row in tagged if row["correct"] is not None]
    same = [row for row in decided if row["correct"] == row["recorded"]]
    all_same = sum(row["correct"] == row["recorded"] for row in rows)
    other = Counter(row["source"] for row in decided if row["correct"] != row["recorded"])
    null = Counter((r["verified_by"], r["source"]) for r in tagged if r["correct"] is None)
    untagged = Counter(row["correct"] for row in rows if not row["tagged"])
    return [
        ("replies", len(rows)),
        ("tagged", len(tagged)),
        ("tagged and decided", len(decided)),
        ("as recorded", len(same)),
        ("decided, share of tagged", len(decided) / len(tagged)),
        ("as recorded, share of decided", len(same) / len(decided)),
        ("as recorded, share of tagged", len(same) / len(tagged)),
        ("as recorded, share of all replies", all_same / len(rows)),
        ("unlike recorded", dict(other)),
        ("tagged, null", {" ".join(name): count for name, count in null.items()}),
        ("untagged, all recorded as wrong", dict(untagged)),
    ]


def run_scorers(every: int = 1) -> Results:
    """reasoning-gym's scorers alone, on every recorded answer."""
    import reasoning_gym

    found: Counter[str] = Counter()
    for record in gym_records()[::every]:
        dataset = reasoning_gym.create_dataset(record["dataset"], **record["config"])
        entry = dataset[record["index"]]
        found["questions"] += 1
        found["questions that differ"] += entry["question"] != record["question"]
        for reply in record["responses"]:
            with contextlib.redirect_stdout(io.StringIO()):
                is_right = float(dataset.score_answer(reply["answer"], entry)) >= RIGHT
            found["answers"] += 1
            found["as recorded"] += is_right == (reply["score"] >= RIGHT)
    share = found["as recorded"] / found["answers"]
    return [*found.items(), ("as recorded, share of all", share)]


def run_gym(workers: int, every: int) -> Results:
    """Ours, end to end."""
    rows, meter = verified(gym_rows(every), workers)
    return reproduced(rows) + speed(rows, meter)


def run_math(workers: int, file: Path) -> Results:
    """Gold against itself, and against others."""
    same, first = verified(math_rows(file), workers)
    pairs, second = verified(pair_rows(file=file), workers)
    called_equal = [(r["reference_answer"], r["answer"]) for r in pairs if r["correct"]]
    return [
        ("itself, right", sum(row["correct"] is True for row in same)),
        *((f"itself, {name}", value) for name, value in speed(same, first)),
        ("pairs, wrong", sum(row["correct"] is False for row in pairs) / len(pairs)),
        ("pairs, called equal", called_equal),
        *((f"pairs, {name}", value) for name, value in speed(pairs, second)),
    ]


def run_gsm8k(workers: int, every: int) -> Results:
    """Five teachers."""
    rows, meter = verified(gsm8k_rows()[::every], workers)
    decided = sum(row["correct"] is not None for row in rows) / len(rows)
    results = [("decided, share", decided), *speed(rows, meter)]
    for teacher in TEACHERS:
        own = [row for row in rows if row["teacher"] == teacher]
        results.append((f"{teacher}, right", sum(row["correct"] is True for row in own) / len(own)))
        results.append((f"{teacher}, verdicts", counts(own)))
    return results


def run_hang(workers: int, every: int) -> Results:
    """Rows that never end."""
    rows, meter = verified(hang_rows(), workers)
    return [("wall_s", meter.wall_s), *speed(rows, meter)]


PARTS: dict[str, Callable[[int, int], Results]] = {
    "reasoning_gym": run_gym,
    "scorers": lambda workers, every: run_scorers(every),
    "math_500": lambda workers, every: run_math(workers, MATH_500),
    "olym_math": lambda workers, every: run_math(workers, OLYM_MATH),
    "gsm8k": run_gsm8k,
    "hang": run_hang,
}


def main() -> None:
    """Measure the parts one after another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="take every n-th prompt")
    args = parser.parse_args()
    rows: Results = []
    for part in args.parts:
        rows += [
            (f"{part}, {name}", value) for name, value in PARTS[part](args.workers, args.every)
        ]
    report("verification", {"workers": args.workers, "every": args.every}, rows)


if __name__ == "__main__":
    main()
