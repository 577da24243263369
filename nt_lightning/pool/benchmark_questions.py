"""Questions that no training set should have: of benchmarks and of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, check_benchmarks
from nt_lightning.files import digest
from nt_lightning.pool.overlap.instructions import without_instructions
from nt_lightning.pool.stems import split_options
from nt_lightning.traces.shapes import BadRowError, Row
from nt_lightning.traces.sources import Source, open_source

QUESTION_COLUMNS = ("question", "problem", "Question", "prompt")
ID_COLUMNS = ("id", "unique_id", "question_id", "uuid", "Record ID")
OPTION_COLUMNS = ("options", "choices")


@dataclass(frozen=True)
class BenchmarkQuestions:
    """Questions of one benchmark.

    Args:
        name: Unique among those that a pool is held against.
        ids: Problem ids.
        questions: What is looked for: no instructions, no options.
        with_options: Questions with their options, where they have any: "Which of these is true?"
            is asked by many.
        origin: Where they come from, as plain JSON.
        options: Texts of each question's options, none where it has none; nothing at all where no
            question has any.
    """

    name: str
    ids: Sequence[str]
    questions: Sequence[str]
    with_options: Sequence[str]
    origin: dict[str, Any]
    options: Sequence[Sequence[str]] = ()

    def lineage(self) -> dict[str, Any]:
        """Name, origin, number and digest."""
        asked = [list(row) for row in zip(self.ids, self.with_options, strict=True)]
        counted = {"questions": len(asked), "questions_digest": digest(asked)}
        return {"name": self.name, **self.origin, **counted}


def load_questions(
    benchmarks: Sequence[Benchmark], files: Sequence[str], column: str | None = None
) -> list[BenchmarkQuestions]:
    """Questions of benchmarks and of files.

    Args:
        benchmarks: The benchmarks.
        files: JSONL, JSON or Parquet files; each is a benchmark of its own, named as the file,
            with its folder where two have one name.
        column: Column of the questions in the files; one of ``QUESTION_COLUMNS`` by default.

    Raises:
        UserError: Nothing is given, a benchmark has no problems, a file cannot be read or has no
            questions, or two have one name.
    """
    if not benchmarks and not files:
        raise UserError("benchmarks and files are empty; give at least one benchmark or file")
    if benchmarks:
        check_benchmarks(benchmarks)
    loaded = [_of_benchmark(benchmark) for benchmark in benchmarks]
    short = [Path(file).name for file in files]
    for file, name in zip(files, short, strict=True):
        loaded.append(_of_file(file, column, name if short.count(name) == 1 else file))
    names = [one.name for one in loaded]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"{names.count(name)} benchmarks are called {name!r}; their names must differ"
            )
    return loaded


def _of_benchmark(benchmark: Benchmark) -> BenchmarkQuestions:
    problems = benchmark.problems()
    return _of_texts(
        benchmark.name,
        [problem.id for problem in problems],
        # the bare question where a benchmark gives it, see ``Problem``
        [problem.metadata.get("stem", problem.question) for problem in problems],
        [problem.metadata.get("option_texts", ()) for problem in problems],
        {"version": benchmark.version},
    )


def _of_texts(
    name: str,
    ids: Sequence[str],
    prompts: Sequence[str],
    options: Sequence[Sequence[str]],
    origin: dict[str, Any],
) -> BenchmarkQuestions:
    """Questions as they are looked for.

    Args:
        name: See ``BenchmarkQuestions``.
        ids: Problem ids.
        prompts: Questions as they are asked: with instructions and options perhaps.
        options: Options that do not stand in the prompts, if any.
        origin: See ``BenchmarkQuestions``.
    """
    bare = without_instructions(prompts)
    asked = [split_options(prompt) for prompt in bare]
    return BenchmarkQuestions(
        name,
        ids,
        [one.stem for one in asked],
        ["\n".join([text, *own]) for text, own in zip(bare, options, strict=True)],
        origin,
        [own or one.options for own, one in zip(options, asked, strict=True)],
    )


def _of_file(file: str, column: str | None, name: str) -> BenchmarkQuestions:
    if not Path(file).is_file():
        raise UserError(f"files: {file}: there is no such file")
    source = open_source(file)
    ids: list[str] = []
    prompts: list[str] = []
    options: list[list[str]] = []
    for place, row in _rows(source):
        found = _question_column(file, row, column)
        question = row.get(found)
        if not isinstance(question, str) or not question.strip():
            raise UserError(f"{place}: column {found!r} is no text with a question: {question!r}")
        ids.append(str(next((row[key] for key in ID_COLUMNS if key in row), f"row {len(ids)}")))
        prompts.append(question)
        options.append(_options(place, row))
    if not prompts:
        raise UserError(f"{file}: there is no question")
    return _of_texts(name, ids, prompts, options, source.lineage())


def _rows(source: Source) -> Iterator[tuple[str, Row]]:
    for number, row in source.rows(lambda names: names):
        place = str(source.place(number))
        if isinstance(row, BadRowError):
            raise UserError(f"{place}: {row}")
        yield place, row


def _question_column(file: str, row: Row, column: str | None) -> str:
    wanted = (column,) if column is not None else QUESTION_COLUMNS
    found = next((name for name in wanted if name in row), None)
    if found is None:
        raise UserError(
            f"{file}: no column of questions: {' or '.join(wanted)}; "
            f"it has: {', '.join(map(str, row))}; --column names another"
        )
    return found


def _options(place: str, row: Row) -> list[str]:
    """Texts of a multiple-choice question's options.

    They are a list of texts, or an object that has one under ``text`` (ARC, OpenBookQA,
    CommonsenseQA) or a text under each letter.

    Raises:
        UserError: They are something else.
    """
    column = next((name for name in OPTION_COLUMNS if name in row), None)
    found = row[column] if column is not None else None
    texts = found
    if isinstance(found, dict):
        texts = found.get("text", list(found.values()))
    if isinstance(texts, list | tuple):
        # numbers are written as they are; null fills up a column of options of unequal number
        texts = [str(one) if type(one) in (int, float) else one for one in texts if one is not None]
        if all(isinstance(one, str) for one in texts):
            return texts
    if found is None:
        return []
    raise UserError(
        f"{place}: column {column!r} is no list of options: {found!r}; allowed: a list of texts, "
        'or {"text": [..]}, or {"A": "..", "B": ".."}'
    )
