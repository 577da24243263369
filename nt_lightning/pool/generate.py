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
from nt_lightning.pool.asking import Unfinished
from nt_lightning.pool.derived import write_derived
from nt_lightning.pool.questions import Rows, first_rows, rows_of_shards
from nt_lightning.pool.requests.ask import ask
from nt_lightning.pool.requests.budget import Caps
from nt_lightning.pool.requests.jobs import Asked, Job
from nt_lightning.pool.requests.request import Request
from nt_lightning.pool.requests.store import RequestStore
from nt_lightning.pool.teachers import GAVE_UP, NOT_ASKED, Teacher, response_of
from nt_lightning.traces.pool import QUESTION_KEY, Pool
from nt_lightning.traces.record import COLUMNS

PURPOSE = "generate"
REPORT = "generation/left_out.jsonl"
TRACES_AT_A_TIME = 1024  # in memory as Python objects
# What a new trace takes from an older one of its question; other columns may be about the trace.
OF_A_QUESTION = ("question", "reference_answer", "source", "domain", "topic")
# What it does not take from a pool of questions, since it has its own or none yet.
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
        unfinished: Those of them that the same command can still get.
    """

    asked: Asked
    num_traces: int
    left_out: Counter[str]
    unfinished: Unfinished


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
    run = _Run(pool, teachers, store)
    asked = ask(run.jobs(), store, PURPOSE, caps)
    write_derived(pool, run.tables(output), output, lambda: run.lineage(asked), extras=run.report)
    return Generated(asked, run.num_traces, run.counts(), _unfinished(run.counts()))


class _Run:
    """The requests about a pool's questions, and their replies as traces."""

    def __init__(self, pool: Pool, teachers: Sequence[Teacher], store: RequestStore) -> None:
        self.pool, self.teachers, self.store = pool, teachers, store
        self.first = first_rows(pool)
        self.left_out: list[dict[str, Any]] = []
        self.num_traces = 0

    def jobs(self) -> list[Job]:
        """All requests, by teacher."""
        return [
            Job(
                teacher.called,
                teacher,
                _requests(self.pool, self.first, teacher),
                len(self.first) * teacher.samples,
            )
            for teacher in self.teachers
        ]

    def tables(self, output: Path) -> Iterator[pa.Table]:
        """The traces, a few at a time."""
        at_a_time = max(1, TRACES_AT_A_TIME // sum(teacher.samples for teacher in self.teachers))
        for questions in rows_of_shards(self.pool, self.first, _inherited(self.pool)):
            for part in questions.to_batches(max_chunksize=at_a_time):
                rows = _traces(part.to_pylist(), self.teachers, self.store, self.left_out)
                self.num_traces += len(rows)
                if rows:
                    yield _table(rows, questions.schema)
        if not self.num_traces:
            said = ", ".join(f"{n} {reason}" for reason, n in self.counts().most_common())
            place = self.store.path
            raise UserError(f"{output}: no response is a trace: {said}; {place} has them all")

    def counts(self) -> Counter[str]:
        """Responses that are no traces, by reason."""
        return Counter(row["reason"] for row in self.left_out)

    def lineage(self, asked: Asked) -> dict[str, Any]:
        """What has been made of what."""
        about = [teacher.about() for teacher in self.teachers]
        return {
            "command": "pool generate",
            "teachers": about,
            "config_digest": digest(about),
            "questions": len(self.first),
            "requests": asked.total,
            "rows_out": self.num_traces,
            "left_out": dict(self.counts()),
            "unfinished": sum(_unfinished(self.counts())),
            "spent": asked.spent._asdict(),
        }

    def report(self, folder: Path) -> None:
        """Write the list of what is no trace."""
        path = folder / REPORT
        path.parent.mkdir()
        with path.open("w", encoding="utf-8") as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.left_out)


def _unfinished(left_out: Counter[str]) -> Unfinished:
    return Unfinished(left_out[NOT_ASKED], left_out[GAVE_UP])


def _requests(pool: Pool, first: Rows, teacher: Teacher) -> Iterator[Request]:
    for questions in rows_of_shards(pool, first, ["question"]):
        for question in questions["question"].to_pylist():
            yield from teacher.requests(question)


def _inherited(pool: Pool) -> list[str]:
    """Columns that the new traces take from their question.

    From questions all that is known of them; from traces what the record says is a question's.
    """
    if pool.kind == "questions":
        return ["id", *(name for name in pool.column_names if name not in OF_A_TRACE)]
    return ["id", *(name for name in OF_A_QUESTION if name in pool.column_names)]


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
