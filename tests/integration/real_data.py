"""Real data beside the checkout, read where it is there, and its conversion to our record.

Nothing of it is copied into the project; a test that needs it skips, saying so, without it.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nt_lightning.evaluation.extraction import extract
from nt_lightning.evaluation.grading import exact_equal

DATA = Path(__file__).parents[3] / "shared" / "data"
R1, LLAMA = "deepseek/deepseek-r1", "meta-llama/llama-3.3-70b-instruct"
RIGHT = 0.99  # recorded score from which an answer is right
_BLOCK = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_TAG = re.compile(r"</?answer>")


def real_file(*parts: str) -> Path:
    """A file of the data; the test is skipped where it is absent."""
    path = DATA.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return path


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a packed JSONL file, as they are."""
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def reply_of(row: dict[str, Any], model: str) -> dict[str, Any]:
    """What a model replied to a question: response, recorded answer and recorded score."""
    return next(reply for reply in row["responses"] if reply["model"] == model)


def answer_in(response: str) -> str | None:
    """The text of the last answer block; without one what is announced, else all of the text.

    ``None``: there is no text, or a block was begun and cut off. A third of Llama's responses
    lack the tags that the question asks for; the recorded answer is null there and the score low.
    """
    if blocks := _BLOCK.findall(response):
        return str(blocks[-1].strip())
    text = _TAG.sub("", response).strip()
    if not text or "<answer>" in response:
        return None
    found = extract(text, "exact")
    return text if found.rule == "last_line" else found.answer


def record_of(row: dict[str, Any]) -> dict[str, Any] | None:
    """A reasoning-gym row as a trace of R1; ``None`` where R1 gave no text at all.

    ``correct`` is about R1's answer and comes from the score; ``models_agree`` is about the two
    answers and comes from their texts. ``second_correct`` is kept beside the record.
    """
    first, second = reply_of(row, R1), reply_of(row, LLAMA)
    if not first["response"].strip():
        return None
    answers = answer_in(first["response"]), answer_in(second["response"])
    known = None not in answers
    return {
        "id": f"{row['dataset']}-{row['index']}",
        "question": row["question"],
        "teacher": "deepseek-r1",
        "reasoning": "",  # the benchmark kept the visible text alone
        "answer": first["response"].strip(),
        "reference_answer": row["expected_answer"],
        "source": row["dataset"],
        "domain": row["category"],
        "models_agree": exact_equal(*answers) if known else None,
        "correct": float(first["score"]) >= RIGHT,
        "second_teacher": "llama-3.3-70b-instruct",
        "second_answer": answers[1],
        "second_correct": float(second["score"]) >= RIGHT,
    }


def reasoning_gym_records(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows that have a record, as a table."""
    return pa.Table.from_pylist([record for row in rows if (record := record_of(row))])
