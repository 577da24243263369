"""Rows of a set, from the Hub or a local file, as problems in a fair order."""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.grading import exact_equal, math_equal, number_equal
from nt_lightning.evaluation.options import Options, chance
from nt_lightning.evaluation.table_rows import TableRow, check_columns, file_origin, file_rows

log = logging.getLogger(__name__)


class TableBenchmark(Benchmark):
    """A benchmark whose problems are the rows of a table.

    Attributes:
        seed: Order of the problems, and of shuffled options.
        is_shuffled: Whether each run shows the options in another order.
    """

    seed: int
    is_shuffled: bool = False

    @abstractmethod
    def rows(self) -> Iterable[TableRow]:
        """All rows."""

    @abstractmethod
    def problem(self, row: TableRow, repeat: int) -> Problem:
        """The problem of a row as it is asked in one run over the benchmark."""

    def problems(self) -> list[Problem]:
        """All problems in the order of the seed, domains mixed in proportion."""
        return self._problems

    def variant(self, problem: Problem, repeat: int) -> Problem:
        """The problem with its options in the order of this run."""
        return self.problem(self._rows[problem.id], repeat) if self.is_shuffled else problem

    def grade(self, problem: Problem, answer: str) -> bool:
        """Whether the answer is right, as its kind demands: a number, mathematics, or a text."""
        if problem.kind == "number":
            return number_equal(problem.reference_answer, answer)
        if problem.kind == "boxed":
            question = problem.metadata.get("stem", problem.question)
            return math_equal(problem.reference_answer, answer, question)
        return exact_equal(problem.reference_answer, answer)

    def baselines(self, problems: Sequence[Problem]) -> dict[str, float]:
        """``chance`` where there are options."""
        if any(problem.kind != "letter" for problem in problems):
            return {}
        return {"chance": chance(problems)}

    @cached_property
    def _problems(self) -> list[Problem]:
        return interleaved([problem for _, problem in self._table], self.seed)

    @cached_property
    def _rows(self) -> dict[str, TableRow]:
        return {problem.id: row for row, problem in self._table}

    @cached_property
    def _table(self) -> list[tuple[TableRow, Problem]]:
        """Rows, read once, each with its problem as the first run asks it."""
        return [(row, self.problem(row, 0)) for row in self.rows()]


def letter_problem(
    name: str, question: str, options: Options, *, stem: str, domain: str, **metadata: Any
) -> Problem:
    """A problem whose answer is the letter of an option.

    Args:
        name: Its id.
        question: All that is asked, options included.
        options: In the order in which they are shown.
        stem: The bare question.
        domain: Subject.
        **metadata: What else is to be kept of the row.
    """
    return Problem(
        id=name,
        question=question,
        reference_answer=options.gold_letter,
        kind="letter",
        domain=domain,
        metadata={
            "options": options.letters,
            "option_texts": options.texts,
            "stem": stem,
            **metadata,
        },
    )


class HubTable(NamedTuple):
    """Where a set is on the Hub: the arguments of ``datasets.load_dataset``, and its size.

    Args:
        name: ``owner/name``.
        split: Its split.
        revision: Commit that is loaded unless the user names another.
        config: Its configuration, where it has several.
        size: Rows of the published set.
    """

    name: str
    split: str
    revision: str
    config: str | None = None
    size: int | None = None

    @property
    def url(self) -> str:
        """Its page on the Hub."""
        return f"https://huggingface.co/datasets/{self.name}"


class HubBenchmark(TableBenchmark):
    """A published set, from the Hub or from a file with the same columns.

    Args:
        path: A local file with the columns of the set: JSONL, JSON (a list), Parquet or CSV;
            ``None`` loads the set from the Hub, which needs the network once.
        seed: Order of the problems, so that the first n are a fair sample.
        revision: Commit, branch or tag on the Hub; ``None`` is the commit that the definition pins.

    Attributes:
        table: Where the set is on the Hub.
        columns: What a row must have.
        access: What is to be done before the Hub gives the set; empty if it is open.
    """

    version = "1"
    table: HubTable
    columns: tuple[str, ...]
    access: str = ""

    def __init__(self, path: str | None = None, seed: int = 0, revision: str | None = None) -> None:
        self.path = path
        self.seed = seed
        self.revision = revision or self.table.revision
        origin = file_origin(path) if path else f"{self.table.name} at {self.revision}"
        self.version = f"{type(self).version} ({origin})"

    def rows(self) -> Iterator[TableRow]:
        """Rows of the file or of the Hub's set.

        Raises:
            UserError: They cannot be read, or a column is missing.
        """
        return self.read(self.table, self.path, self.columns)

    def read(
        self, table: HubTable, path: str | None, columns: Sequence[str], option: str = "path"
    ) -> Iterator[TableRow]:
        """Rows of a table of this set, whose columns are checked.

        Args:
            table: Where it is on the Hub, at this benchmark's revision.
            path: A local file that is read in its place; ``None`` asks the Hub.
            columns: What a row must have.
            option: The argument that gave ``path``, for messages.

        Raises:
            UserError: They cannot be read, or a column is missing.
        """
        where = path or f"{table.name} at {self.revision}"
        found = self._hub_rows(table, option) if path is None else self._file_rows(path, option)
        count = 0
        for row in found:
            check_columns(row, columns, f"as in {table.url}", self.is_confidential)
            yield row
            count += 1
        if table.size is not None and count != table.size:
            log.warning("%s has %d rows, the published set %d", where, count, table.size)

    def _file_rows(self, path: str, option: str) -> Iterator[TableRow]:
        if not Path(path).is_file():
            raise UserError(
                f"{type(self).__name__}: {option} is {path!r}, which is no file; get the set from "
                f"{self.table.url}, or leave {option} out to load it"
            )
        return file_rows(path)

    def _hub_rows(self, table: HubTable, option: str) -> Iterator[TableRow]:
        from datasets import load_dataset

        try:
            data = load_dataset(table.name, table.config, split=table.split, revision=self.revision)
        except (OSError, ValueError) as error:  # the Hub's errors, and a wrong revision's
            raise UserError(
                f"{type(self).__name__}: {option} is null, but {table.name} cannot be loaded: "
                f"{next(iter(str(error).splitlines()), type(error).__name__)}; "
                f"{self.access}give {option}, a file of {table.url}"
            ) from None
        for number, values in enumerate(data):
            yield TableRow(f"{table.name}, row {number} (counted from 0)", number, values)


def text_id(*texts: str) -> str:
    """An id for a row that has none: of its texts, wherever in a file they stand."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def interleaved(problems: Sequence[Problem], seed: int) -> list[Problem]:
    """Problems in the order of the seed, each domain spread evenly over the list.

    Among any first n, each domain has its share of all problems, to within one problem; which of
    its problems these are is random.
    """
    domains: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in sorted(problems, key=lambda problem: _draw(seed, f"problem {problem.id}")):
        domains[problem.domain].append(problem)
    placed = []
    for domain, members in domains.items():
        start = _draw(seed, f"domain {domain}")
        placed += [((k + start) / len(members), domain, k) for k in range(len(members))]
    return [domains[domain][k] for _, domain, k in sorted(placed)]


def _draw(seed: int, name: str) -> float:
    """A number in [0, 1) from a hash."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
