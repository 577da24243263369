"""Rows of a pool that quote benchmark questions are left out, and each is listed with the quote."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from nt_lightning.errors import UserError
from nt_lightning.pool.benchmark_questions import BenchmarkQuestions
from nt_lightning.pool.decontamination_report import write_report
from nt_lightning.pool.derived import write_derived
from nt_lightning.pool.overlap.forms import forms_of
from nt_lightning.pool.overlap.listing import Listing
from nt_lightning.pool.overlap.quotes import Quote, QuoteFinder
from nt_lightning.pool.overlap.runs import RUN
from nt_lightning.pool.overlap.words import text_blocks
from nt_lightning.traces.pool import Pool

FOLDER = "decontamination"
RESPONSE_COLUMNS = ("reasoning", "answer")


class Hit(NamedTuple):
    """A quote in a row: number of the benchmark, of its problem, and where it stands."""

    benchmark: int
    problem: int
    column: str
    quote: Quote


class Contamination:
    """What a pool was held against, and what was found on the way.

    Args:
        benchmarks: The benchmarks.
        min_coverage: See ``QuoteFinder``.
        folder: Where the lines of the report wait; the system's folder for such files by default.

    Attributes:
        not_searched: Problems, as (benchmark, problem), whose question by itself says too little to
            be looked for inside of texts, and how they are compared.
        lines: The report, a line of JSON for each removed row.
    """

    def __init__(
        self,
        benchmarks: Sequence[BenchmarkQuestions],
        min_coverage: float,
        folder: Path | None = None,
    ) -> None:
        if not 0 <= min_coverage <= 1:
            raise UserError(f"min_coverage is {min_coverage}; allowed: 0 to 1")
        self.benchmarks, self.min_coverage = benchmarks, min_coverage
        owners = [(b, p) for b, one in enumerate(benchmarks) for p in range(len(one.ids))]
        groups = np.array([benchmark for benchmark, _ in owners], dtype=np.int64)
        forms = forms_of(
            [text for one in benchmarks for text in one.questions],
            [text for one in benchmarks for text in one.with_options],
            [texts for one in benchmarks for texts in one.options or [()] * len(one.ids)],
            groups,
        )
        self.owners: list[tuple[int, int]] = [owners[n] for n in forms.owners.tolist()]
        self.not_searched = {owners[number]: how for number, how in forms.compared.items()}
        self._finder = QuoteFinder(
            forms.texts, groups[forms.owners], min_coverage, searched=forms.searched
        )
        self.lines = Listing(folder)
        self.rows_in = 0
        self.rows: Counter[int] = Counter()  # removed rows by benchmark
        self.by_question: Counter[int] = Counter()  # those whose question quotes
        self.by_rule: dict[int, Counter[str]] = defaultdict(Counter)
        self.found: dict[int, set[int]] = defaultdict(set)  # problems by benchmark

    def clean(self, shards: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """The rows that quote nothing; the others are counted and listed."""
        for table in shards:
            hits = self._hits(table)
            self.rows_in += table.num_rows
            for row in sorted(hits):
                self._list(table.slice(row, 1), hits[row])
            kept = np.ones(table.num_rows, dtype=bool)
            kept[list(hits)] = False
            if kept.any():
                yield table.filter(pa.array(kept)) if hits else table
        if len(self.lines) == self.rows_in:
            removed = ", ".join(f"{name} {count}" for name, count in self.removed().items())
            raise UserError(
                f"all {self.rows_in} rows quote benchmark questions ({removed}); no pool is written"
            )

    def removed(self) -> dict[str, int]:
        """Removed rows by name of the benchmark; a row may quote several."""
        return {one.name: self.rows[number] for number, one in enumerate(self.benchmarks)}

    def _hits(self, table: pa.Table) -> dict[int, list[Hit]]:
        """Quotes of each row that has any, in the order of its columns."""
        hits: dict[int, list[Hit]] = defaultdict(list)
        for column in ("question", *RESPONSE_COLUMNS):
            if column not in table.column_names:
                continue
            find = self._finder.in_questions if column == "question" else self._finder.in_responses
            for first, texts in text_blocks(table[column]):
                for quote in find(texts):
                    hit = Hit(*self.owners[quote.question], column, quote)
                    hits[first + quote.text].append(hit)
        return hits

    def _list(self, row: pa.Table, hits: Sequence[Hit]) -> None:
        values = row.to_pylist()[0]
        best: dict[tuple[int, int, str], Hit] = {}
        for hit in hits:  # a question and the same with its options are one problem
            best.setdefault((hit.benchmark, hit.problem, hit.column), hit)
        quotes = [self._entry(hit, values[hit.column]) for hit in best.values()]
        entry = {"id": values["id"], "question": values["question"]}
        if "teacher" in values:
            entry["teacher"] = values["teacher"]
        self.lines.add({**entry, "quotes": quotes})
        for number in {hit.benchmark for hit in hits}:
            own = [hit for hit in best.values() if hit.benchmark == number]
            self.rows[number] += 1
            self.by_question[number] += any(hit.column == "question" for hit in own)
            self.by_rule[number][_strongest(own)] += 1
            self.found[number] |= {hit.problem for hit in own}

    def _entry(self, hit: Hit, text: str) -> dict[str, Any]:
        benchmark = self.benchmarks[hit.benchmark]
        return {
            "benchmark": benchmark.name,
            "problem": benchmark.ids[hit.problem],
            "rule": hit.quote.rule,
            "column": hit.column,
            "start": hit.quote.start,
            "end": hit.quote.end,
            "span": text[hit.quote.start : hit.quote.end],
            "coverage": round(hit.quote.coverage, 4),
            "benchmark_question": benchmark.questions[hit.problem],
        }


def _strongest(hits: Sequence[Hit]) -> str:
    rules = {hit.quote.rule for hit in hits}
    return next(rule for rule in ("whole", "contained", "overlap") if rule in rules)


def decontaminate(pool: Pool, output: Path, found: Contamination) -> Pool:
    """Write a pool's rows without those that quote a benchmark question.

    Args:
        pool: Questions or traces; of traces, reasoning and answer are searched too.
        output: Folder of the new pool; ``decontamination/`` in it lists what was removed.
        found: The benchmarks; it counts on the way.

    Raises:
        UserError: Every row quotes one.
    """
    with tqdm(total=len(pool), desc="decontaminating", unit=" rows", delay=3, disable=None) as bar:

        def shards() -> Iterator[pa.Table]:
            for _, table in pool.shards():
                yield table
                bar.update(table.num_rows)

        return write_derived(
            pool,
            found.clean(shards()),
            output,
            _settings(found),
            lambda: _counted(found),
            kind=pool.kind,
            extras=lambda folder: write_report(found, folder / FOLDER),
        )


def _settings(found: Contamination) -> dict[str, Any]:
    return {
        "command": "pool decontaminate",
        "words_in_a_run": RUN,
        "min_coverage": found.min_coverage,
        "benchmarks": [one.lineage() for one in found.benchmarks],
    }


def _counted(found: Contamination) -> dict[str, Any]:
    dropped = {"quotes a benchmark": len(found.lines)} if len(found.lines) else {}
    return {"dropped": dropped, "removed_by_benchmark": found.removed()}
