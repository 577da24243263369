"""Verdicts on pairs of answers: the rules', and a model's where they decide nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from nt_lightning.evaluation.equality.verdict import Verdict
from nt_lightning.pool.annotators import Annotator, Prompts, object_schema
from nt_lightning.pool.asking import Unfinished
from nt_lightning.pool.seconds import Second
from nt_lightning.pool.segments import cut, harmless
from nt_lightning.pool.structured import (
    GAVE_UP,
    NOT_ASKED,
    Form,
    final_answer,
    next_try,
    repair_of,
)
from nt_lightning.pool.verification.announced import announced
from nt_lightning.pool.verification.crew import Crew
from nt_lightning.requests.jobs import Job
from nt_lightning.requests.request import Request, messages_of
from nt_lightning.requests.store import RequestStore
from nt_lightning.traces.pool import QUESTION_KEY, Pool
from nt_lightning.traces.record import COLUMNS

REPORT = "judge/undecided.jsonl"
WRITES = ("models_agree", "agreed_by", "second_teacher", "second_answer")
SCHEMA = object_schema(agree={"type": "boolean"})
NO_SECOND = "no second answer"
OWN = "the second teacher's own trace"
NO_REPLY = "the judge's reply"
BY_ORDER = "each order, another verdict"


class Agreement:
    """The verdicts on a pool's rows.

    Args:
        pool: Traces.
        seconds: See ``seconds_of``.
        judge: A checked model, or none.
        prompts: In which words it is asked.
        store: Keeps its replies.
    """

    def __init__(
        self,
        pool: Pool,
        seconds: dict[str, Second] | None,
        judge: Annotator | None,
        prompts: Prompts,
        store: RequestStore,
    ) -> None:
        self.pool, self.seconds, self.judge = pool, seconds, judge
        self.prompts, self.store = prompts, store
        self.verdicts: list[Verdict] = []
        self.counts: Counter[Verdict] = Counter()
        self.undecided: list[dict[str, str]] = []

    def unfinished(self) -> Unfinished:
        """Verdicts that the same command can still get."""
        kinds = Counter(row["kind"] for row in self.undecided)
        return Unfinished(kinds[NOT_ASKED], kinds[GAVE_UP])

    def failed(self) -> int:
        """Pairs whose reply is of no use; ``undecided`` lists them."""
        return sum(row["kind"] in (NO_REPLY, "refused") for row in self.undecided)

    def by_rules(self, crew: Crew) -> None:
        """Fill ``verdicts``, row by row of the pool."""
        for rows in self._shards():
            verdicts = [Verdict(None, self._why_none(row)) for row, _ in rows]
            pairs = [(place, row, other) for place, (row, other) in enumerate(rows) if other]
            sides = [announced(other.answer) for _, _, other in pairs]
            given = (
                {
                    **{name: row[name] for name in ("id", "question", "answer")},
                    "reference_answer": side.text if side else None,
                }
                for (_, row, _), side in zip(pairs, sides, strict=True)
            )
            for number, verdict in crew.judge(given):
                side = sides[number]
                if verdict.correct is False and (side is None or not side.is_sure):
                    verdict = Verdict(None, "no answer")  # it may not be the second one's answer
                by = "no answer" if verdict.by == "no reference" else verdict.by
                verdicts[pairs[number][0]] = Verdict(verdict.correct, by)
            self.verdicts += verdicts

    def job(self, judge: Annotator, retry_failed: bool) -> Job:
        """Requests about what the rules did not decide, two a pair."""
        total = sum(v.correct is None and v.by not in (NO_SECOND, OWN) for v in self.verdicts)

        def requests() -> Iterator[Request]:
            for row, other, verdict in self._rows():
                if verdict.correct is None and other is not None:
                    for request in self._requests(row, other, judge):
                        again = next_try(request, SCHEMA, self.store) if retry_failed else request
                        yield again

        def repair(request: Request) -> Request | None:
            stored = self.store.find([request.key]).get(request.key)
            return repair_of(request, stored, SCHEMA) if stored is not None else None

        return Job("judge", judge, requests(), 2 * total, repair)

    def tables(self) -> Iterator[pa.Table]:
        """The pool's shards with the verdicts."""
        rows = self._rows()
        for _, shard in self.pool.shards():
            columns: dict[str, list[Any]] = {name: [] for name in WRITES}
            for _ in range(shard.num_rows):
                row, other, verdict = next(rows)
                verdict = self._final(row, other, verdict)
                self.counts[verdict] += 1
                columns["models_agree"].append(verdict.correct)
                columns["agreed_by"].append(verdict.by)
                columns["second_teacher"].append(other.teacher if other else None)
                columns["second_answer"].append(other.answer if other else None)
            kept = shard.drop_columns([name for name in WRITES if name in shard.column_names])
            for name, values in columns.items():
                kept = kept.append_column(name, pa.array(values, COLUMNS[name].type))
            yield kept

    def report(self, folder: Path) -> None:
        """Write the list of what is undecided."""
        path = folder / REPORT
        path.parent.mkdir()
        with path.open("w", encoding="utf-8") as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.undecided)

    def _final(self, row: dict[str, Any], other: Second | None, verdict: Verdict) -> Verdict:
        """The rules' verdict, else the judge's."""
        if verdict.correct is not None or other is None:
            return verdict
        if self.judge is None:
            self.undecided.append({"id": row["id"], "kind": "rules", "reason": verdict.by})
            return verdict
        agree, problem = self._judged(row, other, self.judge)
        if agree is not None:
            digest = self.prompts.digest("judge", SCHEMA)
            return Verdict(agree, f"{self.judge.model} judge:{digest}")
        known = (NOT_ASKED, GAVE_UP, "refused", BY_ORDER)
        kind = problem if problem in known else NO_REPLY
        self.undecided.append({"id": row["id"], "kind": kind, "reason": problem})
        return Verdict(None, f"judge: {kind}")

    def _judged(
        self, row: dict[str, Any], other: Second, judge: Annotator
    ) -> tuple[bool | None, str]:
        """What the judge says in both orders, or why that is no verdict."""
        said = set()
        for request in self._requests(row, other, judge):
            values, problem = final_answer(request, SCHEMA, self.store)
            if values is None:
                return None, str(problem)
            said.add(values["agree"])
        return (None, BY_ORDER) if len(said) > 1 else (said.pop(), "")

    def _requests(self, row: dict[str, Any], other: Second, judge: Annotator) -> Iterator[Request]:
        """A pair in both orders: judges prefer what stands first, or second."""
        room = self.prompts.room("judge", SCHEMA, judge) // 3
        texts = (row["question"], row["answer"], other.answer)
        question, first, second = (cut(harmless(text), room) for text in texts)
        form = Form("judge", SCHEMA, judge.structured_output)
        for one, two in ((first, second), (second, first)):
            text = self.prompts.render("judge", question=question, first=one, second=two)
            body = judge.body(messages_of(None, text), **form.fields())
            yield Request.of(body, judge.max_tokens)

    def _rows(self) -> Iterator[tuple[dict[str, Any], Second | None, Verdict]]:
        verdicts = iter(self.verdicts)
        for rows in self._shards():
            for row, other in rows:
                yield row, other, next(verdicts)

    def _shards(self) -> Iterator[list[tuple[dict[str, Any], Second | None]]]:
        """Each shard's rows beside their second answers; a teacher has none to itself."""
        names = ["id", "question", "answer", "teacher", QUESTION_KEY]
        if self.seconds is None:
            names += ["second_teacher", "second_answer"]
        for _, shard in self.pool.shards(names):
            yield [(row, self._second(row)) for row in shard.to_pylist()]

    def _why_none(self, row: dict[str, Any]) -> str:
        """Why a row has no second answer, if it has none."""
        other = (self.seconds or {}).get(row[QUESTION_KEY])
        return OWN if other is not None and other.teacher == row["teacher"] else NO_SECOND

    def _second(self, row: dict[str, Any]) -> Second | None:
        if self.seconds is not None:
            other = self.seconds.get(row[QUESTION_KEY])
            return None if other is None or other.teacher == row["teacher"] else other
        if not row["second_answer"]:
            return None
        return Second(row["second_teacher"] or "unknown", row["second_answer"])
