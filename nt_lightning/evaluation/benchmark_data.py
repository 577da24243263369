"""Rows of a set, from the Hub or a local file, as problems in a fair order."""

from __future__ import annotations

import csv
import hashlib
import logging
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from math import isfinite
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.grading import exact_equal, math_equal, number_equal
from nt_lightning.evaluation.options import Options, chance
from nt_lightning.files import sha256_file
from nt_lightning.traces.shapes import BadRowError
from nt_lightning.traces.sources import open_source

log = logging.getLogger(__name__)


class TableRow(NamedTuple):
    """One row; messages name its place and never tell what stands in it."""

    place: str
    number: int
    values: dict[str, Any]

    def text(self, column: str) -> str:
        """A text that is not empty; numbers are written out."""
        value = self.values.get(column)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"column {column!r} has {_kind(value)}; needed: a text")
        return value

    def texts(self, column: str) -> list[str]:
        """A list of texts."""
        values = self.values.get(column)
        if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
            raise self.error(f"column {column!r} has {_kind(values)}; needed: a list of texts")
        return list(values)

    def options(self, texts: Sequence[str], gold: int) -> Options:
        """Options without the blanks around them, in their order."""
        try:
            return Options(tuple(text.strip() for text in texts), gold)
        except ValueError as error:
            raise self.error(str(error)) from None

    def lettered(self, texts: Sequence[str], letter: str, padding: str | None = None) -> Options:
        """Options of which a letter tells the right one; those that are ``padding`` are left out.

        The letter counts all of them, so that padding in the middle moves it.
        """
        gold = ascii_uppercase.find(letter) if len(letter) == 1 else -1
        shown = [place for place, text in enumerate(texts) if text != padding]
        if gold not in shown:
            raise self.error(f"the letter of the right option is none of {len(shown)} options")
        return self.options([texts[place] for place in shown], shown.index(gold))

    def error(self, what: str) -> UserError:
        """An error about this row."""
        return UserError(f"{self.place}: {what}")


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
            return math_equal(problem.reference_answer, answer)
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
        table, where = self.table, self.path or f"{self.table.name} at {self.revision}"
        count = 0
        for row in self._hub_rows() if self.path is None else self._file_rows(self.path):
            check_columns(row, self.columns, f"as in {table.url}", self.is_confidential)
            yield row
            count += 1
        if table.size is not None and count != table.size:
            log.warning("%s has %d rows, the published set %d", where, count, table.size)

    def _file_rows(self, path: str) -> Iterator[TableRow]:
        if not Path(path).is_file():
            raise UserError(
                f"{type(self).__name__}: path is {path!r}, which is no file; get the set from "
                f"{self.table.url}, or leave path out to load it"
            )
        return file_rows(path)

    def _hub_rows(self) -> Iterator[TableRow]:
        from datasets import load_dataset

        table = self.table
        try:
            data = load_dataset(table.name, table.config, split=table.split, revision=self.revision)
        except (OSError, ValueError) as error:  # the Hub's errors, and a wrong revision's
            raise UserError(
                f"{type(self).__name__}: path is null, but {table.name} cannot be loaded: "
                f"{next(iter(str(error).splitlines()), type(error).__name__)}; "
                f"{self.access}give path, a file of {table.url}"
            ) from None
        for number, values in enumerate(data):
            yield TableRow(f"{table.name}, row {number} (counted from 0)", number, values)


def file_rows(path: str) -> Iterator[TableRow]:
    """Rows of a JSONL, JSON, Parquet or CSV file.

    Raises:
        UserError: A row cannot be read.
    """
    if path.endswith(".csv"):
        yield from _csv_rows(path)
        return
    source = open_source(path)
    for number, found in source.rows(lambda names: names):
        place = str(source.place(number))
        if isinstance(found, BadRowError):
            raise UserError(f"{place}: {found}")
        yield TableRow(place, number, found)


def _csv_rows(path: str) -> Iterator[TableRow]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            for number, values in enumerate(csv.DictReader(handle)):
                yield TableRow(f"{path}: row {number} (counted from 0)", number, values)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no UTF-8: {error.reason}") from None
    except csv.Error as error:
        raise UserError(f"{path}: is no CSV: {error}") from None


def check_columns(
    row: TableRow, columns: Sequence[str], where: str = "", is_confidential: bool = False
) -> None:
    """Refuse a row without its columns; the message names what is missing and what is there.

    Of a confidential set it does not tell what is there: in a CSV file without a header, the first
    question stands in place of the names.

    Raises:
        UserError: A column is missing.
    """
    if missing := [name for name in columns if name not in row.values]:
        names = ", ".join(map(str, row.values)) or "none"
        found = f"{len(row.values)} others" if is_confidential else names
        raise row.error(
            f"no column {', '.join(map(repr, missing))}; found: {found}; "
            f"needed: {', '.join(columns)}{where and ', '}{where}"
        )


def file_origin(path: str) -> str:
    """A file's name and what tells its content from another's."""
    file = Path(path)
    return f"{file.name}, sha256 {sha256_file(file)[:12]}" if file.is_file() else file.name


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


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    return "an empty text" if value == "" else f"a value of the type {type(value).__name__}"
