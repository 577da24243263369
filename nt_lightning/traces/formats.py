"""The shapes in which traces and questions come, and how each is known by its columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import NamedTuple

from nt_lightning.traces import public_sets, shapes
from nt_lightning.traces.pool import Kind
from nt_lightning.traces.reasoningflow import Labels, from_annotations
from nt_lightning.traces.responses import has_think_block
from nt_lightning.traces.shapes import BadRowError, Candidate, Row

Adapt = Callable[[Row], list[Candidate]]

# Columns that number rows and say nothing of a set.
_NUMBERING = {"id", "idx", "index", "uuid", "__index_level_0__"}
_MATH_NOTES = {"subject", "level", "unique_id"}
# Where any of these is, an answer beside it is no question's alone.
_REPLIES = {"messages", "conversations", "generations", "responses", *shapes.REPLY_COLUMNS}
_REPLIES -= {"answer"}


class Format(NamedTuple):
    """One shape of rows.

    Args:
        adapt: Row to candidates.
        fits: Whether these column names are of this shape; the first format that fits is taken.
        needs: Columns without which no row can be read.
        reads: Further columns that the adapter knows; empty: it keeps all that there are.
        kind: What the rows become.
        teacher: Who wrote the set's traces where neither the row nor the user says it.
        source: Where the questions come from where the row does not say it; ``None``: unknown,
            empty: the name of the file or set.
        part: Column whose value tells the candidates of a row apart in their ids.
    """

    adapt: Adapt
    fits: Callable[[Set[str]], bool]
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    kind: Kind = "traces"
    teacher: str | None = None
    source: str | None = None
    part: str | None = None


def make_formats(labels: Labels | None = None) -> dict[str, Format]:
    """All formats by name, in the order in which they are tried.

    Args:
        labels: Where an annotated row counts labels that are out of the vocabulary.
    """
    return {**PUBLIC_SETS, **_plain_shapes(labels or Labels())}


def format_of(names: Set[str], formats: dict[str, Format]) -> str:
    """The name of the first format that fits these columns.

    Raises:
        BadRowError: None fits; the message has the columns and the formats.
    """
    for name, one in formats.items():
        if one.fits(names):
            return name
    raise BadRowError(
        f"its columns ({', '.join(sorted(names)) or 'none'}) fit no format; a question stands in "
        f"'question', a trace beside it in {', '.join(shapes.REPLY_COLUMNS[:3])}, or in response, "
        "or in messages; --column question=NAME reads a column under another name; the formats "
        f"are {', '.join(formats)}"
    )


def columns_of(one: Format, names: Sequence[str]) -> list[str]:
    """Which columns of a file a format reads; the others stay on the disk."""
    if not one.reads:
        return list(names)
    wanted = {*one.needs, *one.reads}
    return [name for name in names if name in wanted]


def system_turns(row: Row) -> int:
    """How many instructions stand in a row in front of its talk; no pool has them."""
    turns = row.get("messages") or row.get("conversations") or []
    found = [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    roles = [turn.get("role", turn.get("from")) for turn in found]
    beside = "conversations" in row and bool(row.get("system"))
    return sum(role in ("system", "developer") for role in roles) + beside


def _has(*wanted: str) -> Callable[[Set[str]], bool]:
    return lambda names: names >= set(wanted)


def _is(*wanted: str) -> Callable[[Set[str]], bool]:
    return lambda names: names - _NUMBERING == set(wanted)


def _is_math(names: Set[str]) -> bool:
    noted = {"question", "answer", "solution"} <= names and bool(_MATH_NOTES & names)
    return ({"problem", "answer"} <= names or noted) and not _REPLIES & names


def _from_gsm8k(row: Row) -> list[Candidate]:
    """``from_gsm8k``, where it is one: any question with an answer has its columns."""
    if isinstance(row["answer"], str) and "####" not in row["answer"]:
        raise BadRowError(
            "column 'answer': beside a question alone, nobody can say whose it is; a gold answer "
            "is called reference_answer (--column reference_answer=answer), a teacher's needs a "
            "column reasoning too, GSM8K's ends in a line '#### <gold answer>'"
        )
    return public_sets.from_gsm8k(row)


def _plain(adapt: Adapt) -> Adapt:
    """An adapter to which a number as reference_answer is text."""

    def adapted(row: Row) -> list[Candidate]:
        gold = row.get("reference_answer")
        return adapt(row | {"reference_answer": str(gold)} if type(gold) in (int, float) else row)

    return adapted


_S1K = [
    f"{name}_{what}"
    for name in public_sets.S1K_TEACHERS
    for what in ("thinking_trajectory", "attempt", "grade")
]
_MIP_REPLIES = {public_sets.MIP_REPLY, *public_sets.MIP_REPLIES}
PUBLIC_SETS: dict[str, Format] = {
    "natural_reasoning": Format(
        public_sets.from_natural_reasoning,
        _has("question", "responses"),
        ("question", "reference_answer", "responses"),
        ("id",),
        kind="questions",
        source="natural_reasoning",
    ),
    "openr1_math": Format(
        public_sets.from_openr1_math,
        _has("generations"),
        ("problem", "answer", "generations", "is_reasoning_complete"),
        ("correctness_math_verify", "finish_reasons", "problem_type", "source", "uuid"),
        teacher=public_sets.R1,
        source="OpenR1-Math-220k",
        part="sample",
    ),
    "openthoughts_metadata": Format(
        public_sets.from_openthoughts_metadata,
        _has("deepseek_reasoning"),
        ("problem", "deepseek_reasoning", "deepseek_solution"),
        ("ground_truth_solution", "domain", "source"),
        teacher=public_sets.R1,
        source="OpenThoughts-114k",
    ),
    "s1k": Format(
        public_sets.from_s1k,
        lambda names: bool(names & set(_S1K)),
        ("question", "solution"),
        ("source_type", *_S1K),
        source="s1K-1.1",
        part="teacher",
    ),
    "openthoughts": Format(
        public_sets.from_openthoughts,
        _is("system", "conversations"),
        ("conversations",),
        ("system",),
        teacher=public_sets.R1,
        source="OpenThoughts-114k",
    ),
    "mip_overthinking": Format(
        public_sets.from_mip_overthinking,
        lambda names: {"question", "answer"} <= names and bool(names & _MIP_REPLIES),
        ("question", "answer"),
        tuple(_MIP_REPLIES),
        source="mip_overthinking",
        part="teacher",
    ),
    "limo": Format(
        public_sets.from_limo,
        _is("question", "solution", "answer"),
        ("question", "solution", "answer"),
        ("id",),
        teacher="LIMO",
        source="LIMO",
    ),
    "gsm8k": Format(
        _from_gsm8k,
        _is("question", "answer"),
        ("question", "answer"),
        ("id",),
        kind="questions",
        source="gsm8k",
    ),
    "math": Format(
        public_sets.from_math,
        _is_math,
        ("answer",),
        ("problem", "question", "subject", "level", "id", "unique_id"),
        kind="questions",
        source="",
    ),
}


def _plain_shapes(labels: Labels) -> dict[str, Format]:
    def annotated(row: Row) -> list[Candidate]:
        return [Candidate(from_annotations(row, labels), has_think_block(row["response"]))]

    found = {
        "messages": Format(shapes.from_messages, _has("messages"), ("messages",)),
        "conversations": Format(
            shapes.from_conversations, _has("conversations"), ("conversations",)
        ),
        "annotations": Format(
            annotated, _has("response", "nodes", "edges"), ("question", "response")
        ),
        "response": Format(
            shapes.from_response,
            lambda names: "response" in names and "answer" not in names,
            ("question", "response"),
        ),
        "traces": Format(
            shapes.from_columns, lambda names: bool(names & set(shapes.REPLY_COLUMNS))
        ),
        "questions": Format(
            shapes.from_question, _has("question"), ("question",), kind="questions"
        ),
    }
    return {name: one._replace(adapt=_plain(one.adapt)) for name, one in found.items()}
