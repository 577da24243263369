"""Traces to annotated traces: topic, strategies with steps, and verbosity, by a model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nt_lightning.pool.annotated import Annotated
from nt_lightning.pool.annotators import Annotator, Aspect, Prompts, request_of, settings_of
from nt_lightning.pool.asking import Account, Unfinished
from nt_lightning.pool.derived import write_derived
from nt_lightning.pool.questions import first_rows, rows_of_shards
from nt_lightning.pool.segments import Segment
from nt_lightning.pool.structured import (
    GAVE_UP,
    NOT_ASKED,
    Schema,
    final_answer,
    next_try,
    repair_of,
)
from nt_lightning.requests.ask import ask
from nt_lightning.requests.budget import Caps
from nt_lightning.requests.jobs import Asked, Job
from nt_lightning.requests.request import Request
from nt_lightning.requests.store import RequestStore
from nt_lightning.traces.pool import Pool
from nt_lightning.traces.record import COLUMNS

PURPOSE = "annotate"
REPORT = "annotation/failed.jsonl"
WRITES: dict[Aspect, tuple[str, ...]] = {
    "topic": ("domain", "topic"),
    "strategies": ("reasoning_strategies", "num_steps", "step_starts"),
    "verbosity": ("verbosity",),
}
BETWEEN = "; "  # entries of annotated_by, one an aspect: "model aspect:digest"
NEEDS = ("id", "question", "reasoning")
# What can keep a reply from being read; all else is a reply that does not fit.
SHORT = (NOT_ASKED, GAVE_UP, "refused", "cut off at max_tokens", "is no JSON object")


def annotate(
    pool: Pool,
    output: Path,
    annotator: Annotator,
    prompts: Prompts,
    aspects: Sequence[Aspect],
    store: RequestStore,
    caps: Caps,
    retry_failed: bool = False,
) -> Annotated:
    """Ask a model about every trace and write the pool with its annotations.

    A reply that does not fit its schema is asked for once more; then the annotation has failed
    and its columns are null. ``annotation/failed.jsonl`` lists those.

    Args:
        pool: Traces.
        output: Folder of the new pool.
        annotator: A checked one.
        prompts: In which words.
        aspects: What is asked; the columns of the others stay as they are, and their entries in
            ``annotated_by``, as do those of a trace without reasoning.
        store: Keeps every reply.
        caps: What may be spent.
        retry_failed: Ask again what has failed; the older replies stay in the store.

    Raises:
        UserError: No request will do, or a prompt is wrong.
    """
    settings = settings_of(annotator, prompts, aspects)
    run = _Run(pool, annotator, prompts, settings["prompts"], store)
    jobs = [run.job(aspect, retry_failed) for aspect in aspects]
    asked = Asked.sum([ask([job], store, PURPOSE, caps) for job in jobs])
    account = Account(store, PURPOSE, caps)
    write_derived(
        pool,
        run.tables(),
        output,
        settings,
        lambda: {
            "failed": dict(run.failures()),
            "strategies_out_of_vocabulary": dict(run.unknown.most_common(100)),
            "unfinished": sum(run.unfinished()),
            **account.lineage(asked),
        },
        extras=run.report,
    )
    counts = (run.annotated, run.wanted, run.failures(), run.unknown)
    return Annotated(asked, *counts, run.unfinished())


class _Run:
    """The requests about a pool, and their replies as columns."""

    def __init__(
        self,
        pool: Pool,
        annotator: Annotator,
        prompts: Prompts,
        digests: dict[Aspect, str],
        store: RequestStore,
    ) -> None:
        self.pool, self.annotator, self.prompts = pool, annotator, prompts
        self.aspects, self.digests, self.store = tuple(digests), digests, store
        self.first = first_rows(pool)
        self.failed: list[dict[str, str]] = []
        self.unknown: Counter[str] = Counter()
        self.annotated: Counter[Aspect] = Counter()
        self.wanted: Counter[Aspect] = Counter()

    def job(self, aspect: Aspect, retry_failed: bool) -> Job:
        """The requests about one aspect; ``topic`` is asked once a question."""
        schemas: dict[bytes, Schema] = {}  # of requests under way

        def requests() -> Iterator[Request]:
            for row in self._rows(aspect):
                request, schema, _ = request_of(aspect, row, self.annotator, self.prompts)
                if retry_failed:
                    request = next_try(request, schema, self.store)
                schemas[request.key] = schema
                yield request

        def repair(request: Request) -> Request | None:
            schema = schemas.pop(request.key, None)
            stored = self.store.find([request.key]).get(request.key)
            if schema is None or stored is None:  # the same trace twice, or a stop
                return None
            return repair_of(request, stored, schema)

        total = len(self.first) if aspect == "topic" else self._num_reasoning()
        return Job(f"annotator, {aspect}", self.annotator, requests(), total, repair)

    def tables(self) -> Iterator[pa.Table]:
        """The pool's shards with their annotations."""
        for _, shard in self.pool.shards():
            columns: dict[str, list[Any]] = {
                name: [] for aspect in self.aspects for name in WRITES[aspect]
            }
            columns["annotated_by"] = []
            there = [name for name in (*NEEDS, *columns) if name in shard.column_names]
            for row in shard.select(there).to_pylist():
                for name, value in self._annotation(row).items():
                    columns[name].append(value)
            kept = shard.drop_columns([name for name in columns if name in shard.column_names])
            for name, values in columns.items():
                kept = kept.append_column(name, pa.array(values, COLUMNS[name].type))
            yield kept

    def failures(self) -> Counter[str]:
        """How often each aspect has failed, and why."""
        return Counter(f"{row['aspect']}: {row['kind']}" for row in self.failed)

    def unfinished(self) -> Unfinished:
        """Annotations that were not asked, or had no reply."""
        kinds = Counter(row["kind"] for row in self.failed)
        return Unfinished(kinds[NOT_ASKED], kinds[GAVE_UP])

    def report(self, folder: Path) -> None:
        """Write the list of what has failed."""
        path = folder / REPORT
        path.parent.mkdir()
        with path.open("w", encoding="utf-8") as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.failed)

    def _rows(self, aspect: Aspect) -> Iterator[dict[str, str]]:
        rows = self.first if aspect == "topic" else np.arange(len(self.pool))
        for shard in rows_of_shards(self.pool, rows, ["question", "reasoning"]):
            for batch in shard.to_batches(max_chunksize=1000):
                for row in batch.to_pylist():
                    if aspect == "topic" or row["reasoning"].strip():
                        yield row

    def _num_reasoning(self) -> int:
        return sum(1 for _ in self._rows("strategies"))

    def _annotation(self, row: dict[str, Any]) -> dict[str, Any]:
        """Values of the columns that are written, of one trace."""
        out: dict[str, Any] = {name: None for a in self.aspects for name in WRITES[a]}
        by = _entries(row.get("annotated_by"))
        for aspect in self.aspects:
            if aspect != "topic" and not row["reasoning"].strip():
                # a System-1 answer has no reasoning to annotate
                out |= {name: row.get(name) for name in WRITES[aspect]}
                continue
            self.wanted[aspect] += 1
            by.pop(aspect, None)
            request, schema, segments = request_of(aspect, row, self.annotator, self.prompts)
            values, problem = final_answer(request, schema, self.store)
            if values is None:
                said = str(problem)
                kind = said if said in SHORT else "does not fit its schema"
                failure = {"id": row["id"], "aspect": aspect, "kind": kind, "reason": said}
                self.failed.append(failure)
                continue
            self.annotated[aspect] += 1
            out |= self._steps(values, segments) if aspect == "strategies" else values
            by[aspect] = f"{self.annotator.model} {aspect}:{self.digests[aspect]}"
        out["annotated_by"] = BETWEEN.join(by.values()) or None
        return out

    def _steps(self, values: dict[str, Any], segments: Sequence[Segment]) -> dict[str, Any]:
        """Steps in order, the first from the first segment, and the strategies of all of them."""
        begins = {1, *(step["first_segment"] for step in values["steps"])}
        given = [name for step in values["steps"] for name in step["strategies"]]
        names = dict.fromkeys("-".join(name.lower().replace("_", " ").split()) for name in given)
        names.pop("", None)
        self.unknown.update(name for name in names if name not in self.prompts.vocabulary)
        return {
            "reasoning_strategies": list(names),
            "num_steps": len(begins),
            "step_starts": [segments[number - 1].start for number in sorted(begins)],
        }


def _entries(annotated_by: str | None) -> dict[str, str]:
    """Entries of ``annotated_by`` by their aspects."""
    entries = annotated_by.split(BETWEEN) if annotated_by else []
    return {entry.split()[-1].partition(":")[0]: entry for entry in entries if entry.strip()}
