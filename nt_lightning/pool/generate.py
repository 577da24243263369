"""Questions to traces: every teacher's responses, each a trace or left out with its reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from nt_lightning.errors import UserError
from nt_lightning.files import digest
from nt_lightning.pool.derived import write_derived
from nt_lightning.pool.questions import Rows, first_rows, rows_of_shards
from nt_lightning.pool.requests.ask import ask
from nt_lightning.pool.requests.budget import Caps
from nt_lightning.pool.requests.jobs import Asked, Job
from nt_lightning.pool.requests.request import Request
from nt_lightning.pool.requests.store import RequestStore, chunks
from nt_lightning.pool.teachers import Teacher, response_of
from nt_lightning.traces.pool import QUESTION_KEY, Pool
from nt_lightning.traces.record import COLUMNS

PURPOSE = "generate"
REPORT = "generation/left_out.jsonl"
QUESTIONS_AT_A_TIME = 256
# Columns of a trace and not of its question: a new trace does not inherit them.
OF_A_TRACE = (
    *("id", "teacher", "reasoning", "answer", "finish_reason", "response_tokens", "sample"),
    *("reasoning_strategies", "num_steps", "step_starts", "verbosity", "annotated_by"),
    *("models_agree", "agreed_by", "correct", "verified_by", "request_key", QUESTION_KEY),
)


class Generated(NamedTuple):
    """What a run has made.

    Args:
        asked: What became of the requests.
        num_traces: Rows of the pool.
        left_out: Responses that are no traces, by reason.
    """

    asked: Asked
    num_traces: int
    left_out: Counter[str]


def generate(
    pool: Pool, output: Path, teachers: Sequence[Teacher], store: RequestStore, caps: Caps
) -> Generated:
    """Ask the teachers a pool's distinct questions and write the traces.

    Args:
        pool: Questions, or traces whose questions are asked again.
        output: Folder of the new pool; ``generation/left_out.jsonl`` in it lists what is no trace.
        teachers: Checked ones.
        store: Keeps every reply; what it has is not asked again.
        caps: Hard caps.

    Raises:
        UserError: No request will do, or not one response is a trace.
    """
    first = first_rows(pool)
    jobs = [
        Job(
            teacher.called,
            teacher,
            _requests(pool, first, teacher),
            len(first) * teacher.samples,
        )
        for teacher in teachers
    ]
    asked = ask(jobs, store, PURPOSE, caps)
    left_out: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    made = [0]

    def tables() -> Iterator[pa.Table]:
        for questions in rows_of_shards(pool, first, _inherited(pool)):
            rows = []
            for part in chunks(questions.to_pylist(), QUESTIONS_AT_A_TIME):
                rows += _traces(part, teachers, store, left_out)
            if rows:
                made[0] += len(rows)
                yield _table(rows, questions.schema)
        if not made[0]:
            reasons = Counter(row["reason"] for row in left_out)
            said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
            raise UserError(f"{output}: no response is a trace: {said}; {store.path} has them all")

    def lineage() -> dict[str, Any]:
        counts.update(row["reason"] for row in left_out)
        about = [teacher.about() for teacher in teachers]
        return {
            "command": "pool generate",
            "teachers": about,
            "config_digest": digest(about),
            "questions": len(first),
            "requests": asked.total,
            "rows_out": made[0],
            "left_out": dict(counts),
            "unfinished": asked.gave_up + asked.not_asked,
            "spent": asked.spent._asdict(),
        }

    def report(folder: Path) -> None:
        path = folder / REPORT
        path.parent.mkdir()
        with path.open("w", encoding="utf-8") as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in left_out)

    write_derived(pool, tables(), output, lineage, extras=report)
    return Generated(asked, made[0], counts)


def _requests(pool: Pool, first: Rows, teacher: Teacher) -> Iterator[Request]:
    for questions in rows_of_shards(pool, first, ["question"]):
        for question in questions["question"].to_pylist():
            yield from teacher.requests(question)


def _inherited(pool: Pool) -> list[str]:
    """Columns that the new traces take from their question."""
    return ["id", *(name for name in pool.column_names if name not in OF_A_TRACE)]


def _traces(
    questions: list[dict[str, Any]],
    teachers: Sequence[Teacher],
    store: RequestStore,
    left_out: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Traces of some questions; responses that are none go to ``left_out``."""
    wanted: list[tuple[dict[str, Any], Teacher, int, Request]] = [
        (question, teacher, sample, request)
        for question in questions
        for teacher in teachers
        for sample, request in enumerate(teacher.requests(question["question"]))
    ]
    found = store.find([request.key for *_, request in wanted])
    rows = []
    for question, teacher, sample, request in wanted:
        response = response_of(found.get(request.key))
        made_by = {
            "id": f"{question['id']}/{teacher.called}/{sample}",
            "teacher": teacher.called,
            "sample": sample,
            "request_key": request.key.hex(),
        }
        if response.left_out is not None:
            left_out.append({**made_by, "reason": response.left_out})
            continue
        rows.append(
            {
                **question,
                **made_by,
                "reasoning": response.reasoning,
                "answer": response.answer,
                "finish_reason": response.finish_reason or None,
                "response_tokens": response.tokens,
            }
        )
    return rows


def _table(rows: list[dict[str, Any]], inherited: pa.Schema) -> pa.Table:
    """Rows as a table whose columns do not depend on which values are null."""
    own = ("reasoning", "answer", "teacher", "finish_reason", "response_tokens", "sample")
    types = {name: COLUMNS[name].type for name in (*own, "request_key")}
    types |= {name: inherited.field(name).type for name in inherited.names}
    return pa.Table.from_pylist(rows, schema=pa.schema(list(types.items())))
