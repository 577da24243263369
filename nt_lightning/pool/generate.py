"""Questions to traces: every teacher's responses, each a trace or left out with its reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from nt_lightning.errors import UserError
from nt_lightning.pool.asking import Account, Unfinished, stopped
from nt_lightning.pool.derived import write_derived
from nt_lightning.pool.questions import Rows, first_rows, rows_of_shards
from nt_lightning.pool.teachers import GAVE_UP, NOT_ASKED, Teacher, last_try, response_of
from nt_lightning.requests.ask import ask
from nt_lightning.requests.budget import Caps
from nt_lightning.requests.jobs import Asked, Job
from nt_lightning.requests.request import Request
from nt_lightning.requests.store import RequestStore
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


def settings_of(teachers: Sequence[Teacher]) -> dict[str, Any]:
    """What decides about the traces of a pool of questions."""
    return {"command": "pool generate", "teachers": [teacher.about() for teacher in teachers]}


def generate(
    pool: Pool,
    output: Path,
    teachers: Sequence[Teacher],
    store: RequestStore,
    caps: Caps,
    retry_failed: bool = False,
) -> Generated:
    """Ask the teachers a pool's distinct questions and write the traces.

    Args:
        pool: Questions, or traces whose questions are asked again.
        output: Folder of the new pool; ``generation/left_out.jsonl`` in it lists what is no trace.
        teachers: Checked ones.
        store: Keeps every reply; what it has is not asked again.
        caps: What may be spent.
        retry_failed: Ask again what a server has refused; the refusal stays in the store.

    Raises:
        UserError: No request will do, or not one response is a trace.
    """
    run = _Run(pool, teachers, store)
    asked = ask(run.jobs(retry_failed), store, PURPOSE, caps)
    account = Account(store, PURPOSE, caps)
    write_derived(
        pool,
        run.tables(output, asked),
        output,
        settings_of(teachers),
        lambda: run.lineage(asked) | account.lineage(asked),
        extras=run.report,
    )
    return Generated(asked, run.num_traces, run.counts(), _unfinished(run.counts()))


class _Run:
    """The requests about a pool's questions, and their replies as traces."""

    def __init__(self, pool: Pool, teachers: Sequence[Teacher], store: RequestStore) -> None:
        self.pool, self.teachers, self.store = pool, teachers, store
        self.first = first_rows(pool)
        self.left_out: list[dict[str, Any]] = []
        self.num_traces = 0

    def jobs(self, retry_failed: bool) -> list[Job]:
        """All requests, by teacher."""
        store = self.store if retry_failed else None
        return [
            Job(
                teacher.called,
                teacher,
                _requests(self.pool, self.first, teacher, store),
                len(self.first) * teacher.samples,
            )
            for teacher in self.teachers
        ]

    def tables(self, output: Path, asked: Asked) -> Iterator[pa.Table]:
        """The traces, a few at a time."""
        at_a_time = max(1, TRACES_AT_A_TIME // sum(teacher.samples for teacher in self.teachers))
        for questions in rows_of_shards(self.pool, self.first, _inherited(self.pool)):
            for part in questions.to_batches(max_chunksize=at_a_time):
                rows = _traces(part.to_pylist(), self.teachers, self.store, self.left_out)
                self.num_traces += len(rows)
                if rows:
                    yield _table(rows, questions.schema)
        if not self.num_traces:
            counts = self.counts()
            not_asked = counts.pop(NOT_ASKED, 0)
            said = ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
            said = f"no response is a trace: {said}; {self.store.path} has them all" if said else ""
            capped = stopped(asked, not_asked) if asked.capped else ""
            raise UserError(f"{output}: {'; '.join(part for part in (capped, said) if part)}")

    def counts(self) -> Counter[str]:
        """Responses that are no traces, by reason."""
        return Counter(row["reason"] for row in self.left_out)

    def lineage(self, asked: Asked) -> dict[str, Any]:
        """What has been counted; ``dropped`` are responses that are no traces."""
        return {
            "questions": len(self.first),
            "requests": asked.total,
            "dropped": dict(self.counts()),
            "unfinished": sum(_unfinished(self.counts())),
        }

    def report(self, folder: Path) -> None:
        """Write the list of what is no trace."""
        path = folder / REPORT
        path.parent.mkdir()
        with path.open("w", encoding="utf-8") as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.left_out)


def _unfinished(left_out: Counter[str]) -> Unfinished:
    return Unfinished(left_out[NOT_ASKED], left_out[GAVE_UP])


def _requests(
    pool: Pool, first: Rows, teacher: Teacher, retry: RequestStore | None
) -> Iterator[Request]:
    """A teacher's requests; what a store to retry has as refused, as a further try."""
    for questions in rows_of_shards(pool, first, ["question"]):
        for question in questions["question"].to_pylist():
            for request in teacher.requests(question):
                last, stored = last_try(request, retry) if retry is not None else (request, None)
                is_refused = stored is not None and stored.state == "refused"
                yield last.again() if is_refused else last


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
        stored = found.get(request.key)
        if stored is not None and stored.state == "refused":
            request, stored = last_try(request, store)
        response = response_of(stored)
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
