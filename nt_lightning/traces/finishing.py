"""Candidates to rows with every column that a pool needs; replies that broke off are found here."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.traces import record
from nt_lightning.traces.formats import Format, columns_of, format_of, make_formats
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN
from nt_lightning.traces.public_sets import require
from nt_lightning.traces.reasoningflow import Labels
from nt_lightning.traces.shapes import BadRowError, Candidate, DroppedRowError, Row

# Of OpenAI and vLLM, Anthropic and Cohere, Mistral, OpenAI's responses, TGI; in lower case.
CUT_OFF = frozenset({"length", "max_tokens", "model_length", "max_output_tokens", "max_new_tokens"})
OUT_OF_TOKENS = "the reply was cut off at its longest"
EMPTY = "the reply is empty"
NO_ANSWER = "there is reasoning and no answer"
NO_REPLY = "the question has no reply"
TAGGED = "a think tag stands inside the reasoning or the answer"


class Entry(NamedTuple):
    """A row for a pool, or why it is left out; ``thinks`` as in ``Candidate``."""

    row: Row
    thinks: bool | None
    problem: BadRowError | None


class Finisher:
    """Makes rows of a pool from rows of one source.

    Where a public set has an id twice, the later one gets the number of its row (our choice: the
    rows are sound, and nothing refers to them yet). In other rows ids are the user's own and
    may refer to something; there an id that stands twice is a mistake, see ``Rows``.

    Args:
        name: Of the file or set, for ids and sources.
        title: Of it, for messages.
        format: Name of the format of every row; ``None``: known by the row's columns.
        teacher: Who wrote the traces that do not say it.

    Raises:
        UserError: There is no such format.
    """

    def __init__(self, name: str, title: str, format: str | None, teacher: str | None) -> None:
        self.name, self.title, self.teacher = name, title, teacher
        self.labels = Labels()
        self.formats = make_formats(self.labels)
        self.used: Counter[str] = Counter()
        self.num_renamed = 0
        self._own_names: set[str] = set()  # ids that the source gives, not those made of numbers
        self._known: dict[frozenset[str], str] = {}
        self._format = format
        if format is not None and format not in self.formats:
            raise UserError(f"format is {format!r}; there are: {', '.join(self.formats)}")

    def choose(self, columns: list[str]) -> list[str]:
        """The columns that are read.

        Raises:
            UserError: No format fits, or a column that it needs is missing.
        """
        try:
            name = self._format_of(frozenset(columns))
            one = self.formats[name]
            require(dict.fromkeys(columns), one.needs, _called(name))
        except BadRowError as error:
            raise UserError(f"{self.title}: {error}") from None
        chosen = columns_of(one, columns)
        self._known[frozenset(chosen)] = name  # which they alone might not tell
        return chosen

    def entries(self, row: Row, number: int) -> tuple[Format, list[Entry]]:
        """The row's format and what it holds for a pool.

        Args:
            row: As it stands in the source.
            number: Its number there, from 0.

        Raises:
            BadRowError: The whole row is left out.
        """
        name = self._format_of(frozenset(row))
        one = self.formats[name]
        require(row, one.needs, _called(name))
        entries = [self._finished(found, one, number) for found in one.adapt(row)]
        if not entries:
            raise DroppedRowError(NO_REPLY)
        self.used[name] += 1
        return one, entries

    def _format_of(self, names: frozenset[str]) -> str:
        if self._format is not None:
            return self._format
        if names not in self._known:
            self._known[names] = format_of(names, self.formats)
        return self._known[names]

    def _finished(self, candidate: Candidate, one: Format, number: int) -> Entry:
        row = dict(candidate.columns)
        if one.kind == "traces" and row.get("teacher") is None:
            teacher = self.teacher or one.teacher
            row |= {"teacher": teacher} if teacher else {}
        if one.source is not None:
            row.setdefault("source", one.source or self.name)
        self._name(row, one, number, in_pool=candidate.problem is None)
        try:
            if candidate.problem is not None:
                raise candidate.problem
            _complete(row, one, list(candidate.columns))
        except BadRowError as error:
            return Entry(row, candidate.thinks, error)
        return Entry(row, candidate.thinks, None)

    def _name(self, row: Row, one: Format, number: int, *, in_pool: bool) -> None:
        """Give the row its id."""
        is_given = "id" in row
        own = row.setdefault("id", f"{self.name}-{number}")
        if type(own) is int:  # a bare number says little where the set has a name
            row["id"] = own = str(own) if one.source is None else f"{self.name}-{own}"
        suffix = f"/{row[one.part]}" if one.part and one.part in row else ""
        if not isinstance(own, str):
            return
        if one.source is not None and is_given and in_pool:
            if own + suffix in self._own_names:
                own = f"{own}-{number}"
                self.num_renamed += 1
            self._own_names.add(own + suffix)
        row["id"] = own + suffix


def _called(name: str) -> str:
    return f"the format {name} (--format names another)"


def _complete(row: Row, one: Format, found: list[str]) -> None:
    """Refuse a row that lacks a column, and leave out a reply that broke off.

    Raises:
        BadRowError: Naming what is missing and the columns that were found.
    """
    for name in record.REQUIRED_OF[one.kind]:
        if name not in row:
            hint = "; give the teacher's name" if name == "teacher" else ""
            if "reasoning" not in row:
                hint += "; a gold answer, if it is one, is called reference_answer"
            raise BadRowError(f"column {name!r}: is missing{hint}; found: {', '.join(found)}")
    if one.kind == "questions":
        return
    if "finish_reason" not in row and isinstance(row.get("stop_reason"), str):
        row["finish_reason"] = row.pop("stop_reason")  # Anthropic's name
    reason = row.get("finish_reason")
    if isinstance(reason, str) and reason.lower() in CUT_OFF:
        raise DroppedRowError(OUT_OF_TOKENS, f"{OUT_OF_TOKENS} (finish_reason {reason!r})")
    answer, reasoning = row["answer"], row["reasoning"]
    if isinstance(answer, str) and not answer.strip():
        thought = isinstance(reasoning, str) and reasoning.strip()
        raise DroppedRowError(NO_ANSWER if thought else EMPTY)
    for name, value in (("reasoning", reasoning), ("answer", answer)):
        for tag in (THINK_OPEN, THINK_CLOSE):
            if isinstance(value, str) and tag in value:
                problem = f"holds the tag {tag}; reasoning and answer are apart"
                raise DroppedRowError(TAGGED, f"column {name!r}: {problem}")
