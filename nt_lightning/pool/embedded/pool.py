"""The embedded pool: verified, annotated traces made in seconds, without network or model."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from nt_lightning.files import digest
from nt_lightning.pool.embedded.annotate import STRATEGIES, count_steps, verbosity
from nt_lightning.pool.embedded.arguments import (
    check_families,
    check_level,
    check_names,
    check_number,
)
from nt_lightning.pool.embedded.families import FAMILIES
from nt_lightning.pool.embedded.family import Draft, Entry
from nt_lightning.pool.embedded.questions import draw, item_random, shares, take_turns
from nt_lightning.pool.embedded.scoring import guessing, score
from nt_lightning.pool.embedded.teachers import TEACHERS, WEAK, weak_answer
from nt_lightning.traces.record import COLUMNS

logger = logging.getLogger(__name__)

LATER = ("step_starts", "annotated_by", "agreed_by", "verified_by", "sample", "request_key")
POOL_COLUMNS = tuple(name for name in COLUMNS if name not in LATER)  # what programs know
PIECES = re.compile(r"\w+|[^\w\s]")  # a program's tokens are its words and signs
ABOUT = (
    "synthetic: reasoning-gym questions, traces by programs and not by language models; every "
    "answer is verified by the family's own scorer"
)


class EmbeddedPool:
    """A pool made on the spot: reasoning-gym questions, each answered by several programs.

    Every trace is right by the family's own scorer. ``models_agree`` compares with a weak program
    that makes plausible mistakes. The same arguments give the same rows.

    Args:
        families: Names of families; None takes the default ones, which a 135M student learns.
        num_questions: Questions in all, spread evenly over the families; each is answered by
            every teacher, so the pool has this many traces times the number of teachers.
        level: ``easy``, ``medium`` or ``hard``: sizes of the numbers, lists and stories.
        teachers: Names of teachers, in the order in which they answer a question; None: all.
        seed: Seed of the questions and of the teachers' free choices.

    Raises:
        UserError: An argument is not allowed.
    """

    def __init__(
        self,
        families: Sequence[str] | None = None,
        num_questions: int = 480,
        level: str = "easy",
        teachers: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        self.families = check_families(families)
        self.teachers = check_names("teachers", teachers, tuple(TEACHERS), tuple(TEACHERS))
        check_level(level)
        check_number("num_questions", num_questions, len(self.families))
        self.num_questions = num_questions
        self.level = level
        self.seed = seed
        self._made: tuple[pa.Table, dict[str, Any]] | None = None

    def arguments(self) -> dict[str, Any]:
        """The arguments with their defaults filled in, as plain JSON."""
        return {
            "families": list(self.families),
            "num_questions": self.num_questions,
            "level": self.level,
            "teachers": list(self.teachers),
            "seed": self.seed,
        }

    def fingerprint(self) -> str:
        """Hex digest of the arguments, this package's source and reasoning-gym's version."""
        sources = sorted(Path(__file__).parent.rglob("*.py"))
        code = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        return digest([self.arguments(), code, version("reasoning-gym")])

    def lineage(self) -> dict[str, Any]:
        """How the rows were made, as plain JSON: arguments, counts, reasons, baselines."""
        return self._rows_and_lineage()[1]

    def make(self) -> pa.Table:
        """The rows, grouped by question, families taking turns.

        Raises:
            UserError: A family has fewer questions than wanted.
        """
        return self._rows_and_lineage()[0]

    def _rows_and_lineage(self) -> tuple[pa.Table, dict[str, Any]]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def _make(self) -> tuple[pa.Table, dict[str, Any]]:
        drawn: dict[str, list[Entry]] = {}
        passed: dict[str, dict[str, int]] = {}
        for name, share in shares(self.families, self.num_questions).items():
            drawn[name], reasons = draw(name, share, self.level, self.seed, held_out=False)
            passed[name] = dict(reasons)
        dropped: Counter[str] = Counter()
        rows: list[dict[str, Any]] = []
        for name, index, entry in take_turns(drawn):
            rows += self._answered(name, index, entry, dropped)
        columns = {name: [row[name] for row in rows] for name in POOL_COLUMNS}
        schema = pa.schema([(name, COLUMNS[name].type) for name in POOL_COLUMNS])
        lineage = {
            "maker": "EmbeddedPool",
            "about": ABOUT,
            "arguments": self.arguments(),
            "reasoning_gym": version("reasoning-gym"),
            "kept_traces": len(rows),
            "dropped_traces": dict(dropped),
            "passed_over_draws": passed,
            "disagreement": _disagreement(rows),
            "baselines": self._baselines(drawn),
        }
        return pa.table(columns, schema=schema), lineage

    def _baselines(self, drawn: dict[str, list[Entry]]) -> dict[str, dict[str, float]]:
        """What guessing gets in each family, logged and as plain JSON."""
        answers = [(name, entry["answer"]) for name, entries in drawn.items() for entry in entries]
        found = guessing(answers)
        for name, one in found.items():
            logger.info(
                "embedded pool %s/%s: %d questions, guessing gets %.1f %% (chance) "
                "or %.1f %% (majority)",
                *(name, self.level, one.num_questions, 100 * one.chance, 100 * one.majority),
            )
        return {name: one._asdict() for name, one in found.items()}

    def _answered(
        self, name: str, index: int, entry: Entry, dropped: Counter[str]
    ) -> list[dict[str, Any]]:
        """The rows of one question: the traces that its family's scorer calls right."""
        family, question_id = FAMILIES[name], f"{name}-{self.level}-{self.seed}-{index:05d}"
        problem = family.parse(entry)
        drafts: dict[str, Draft] = {}
        for teacher, write in TEACHERS.items():  # all of them: verbosity compares
            found = write(family, problem, item_random(self.seed, question_id, teacher))
            if score(name, found.answer, entry):
                drafts[teacher] = found
            elif teacher in self.teachers:
                dropped[f"{name}: {teacher} is wrong by the scorer"] += 1
        second = weak_answer(family, problem, item_random(self.seed, question_id, WEAK))
        shared = {
            "question": entry["question"],
            "reference_answer": entry["answer"],
            "source": f"reasoning_gym/{name}",
            "finish_reason": "stop",
            "domain": family.domain,
            "topic": name,
            # the kept answers are right, so agreeing with them is being right
            "models_agree": score(name, second, entry),
            "correct": True,
            "second_teacher": WEAK,
            "second_answer": second,
        }
        shortest = min((_num_words(found) for found in drafts.values()), default=1)
        return [
            {
                **shared,
                "id": f"{question_id}/{teacher}",
                "teacher": teacher,
                **_written(drafts[teacher], shortest),
            }
            for teacher in self.teachers
            if teacher in drafts
        ]


def _num_words(found: Draft) -> int:
    return len(found.reasoning.split())


def _written(found: Draft, shortest: int) -> dict[str, Any]:
    """The columns that depend on the text."""
    answer = f"Answer: {found.answer}"
    return {
        "reasoning": found.reasoning,
        "answer": answer,
        "response_tokens": len(PIECES.findall(f"{found.reasoning} {answer}")),
        "reasoning_strategies": [name for name in STRATEGIES if name in found.strategies],
        "num_steps": count_steps(found.reasoning),
        "verbosity": verbosity(_num_words(found), shortest),
    }


def _disagreement(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Share of rows per family in which the second teacher differs."""
    total: Counter[str] = Counter(row["topic"] for row in rows)
    differs: Counter[str] = Counter(row["topic"] for row in rows if not row["models_agree"])
    return {name: round(differs[name] / count, 4) for name, count in total.items()}
